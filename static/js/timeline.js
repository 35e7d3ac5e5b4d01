// The timeline's scripts: the parts' own, and what a cell tells on hover and on focus.

import "./ages.js";
import "./parts.js";
import "./connection.js";
import "./timeline_cells.js";
