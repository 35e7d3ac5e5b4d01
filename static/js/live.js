// Scripts of the live page.

import "./base.js";
import "./url_state.js";
import "./job_filter.js";
import "./job_rows.js";
import "./delivery_graphs.js";
import "./alerts.js";
import "./copy_run_summary.js";

// Few readers expand a job. The script draws what is there when it is loaded, and what comes later.
function loadJobGraphs() {
  if (!document.querySelector("[data-series]")) return;
  document.removeEventListener("fragment", loadJobGraphs);
  import("./job_graphs.js").catch(() => document.addEventListener("fragment", loadJobGraphs));
}

document.addEventListener("fragment", loadJobGraphs);
loadJobGraphs();
