// The job page's scripts, each for one thing.

import "./every_page.js";
import "./job_graphs.js";
import "./log.js";
