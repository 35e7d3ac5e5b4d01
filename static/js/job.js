// Scripts of the page of a job.

import "./base.js";
import "./job_graphs.js";
import "./log_viewer.js";
