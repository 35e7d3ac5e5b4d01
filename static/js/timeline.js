// The timeline's scripts.

import "./every_page.js";
import "./timeline_cells.js";
