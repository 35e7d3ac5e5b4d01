// The live page's scripts, each for one thing.

import "./ages.js";
import "./parts.js";
import "./address.js";
