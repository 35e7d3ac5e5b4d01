// Scripts of the timeline.

import "./base.js";
import "./timeline_cells.js";
