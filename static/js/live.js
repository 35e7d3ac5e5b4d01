// The live page's scripts, each for one thing.

import "./every_page.js";
import "./address.js";
import "./filter.js";
import "./delivery_graphs.js";
import "./job_graphs.js";
import "./alerts.js";
import "./copy_state.js";
