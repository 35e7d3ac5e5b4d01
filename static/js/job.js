// The job page's scripts, each for one thing.

import "./base.js";
import "./job_graphs.js";
import "./log_viewer.js";
