// The cluster page's scripts, each for one thing.

import "./ages.js";
import "./parts.js";
import "./connection.js";
