// The timeline's scripts.

import "./base.js";
import "./timeline_cells.js";
