// The job page's scripts, each for one thing.

import "./ages.js";
import "./parts.js";
import "./job_graphs.js";
import "./log.js";
import "./connection.js";
