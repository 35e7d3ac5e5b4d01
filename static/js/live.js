// Scripts of the live page.

import "./base.js";
import "./url_state.js";
import "./job_filter.js";
import "./job_rows.js";
import "./row_order.js";
import "./delivery_graphs.js";
import "./job_graphs.js";
import "./copy_run_summary.js";
