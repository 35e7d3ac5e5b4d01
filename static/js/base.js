// Scripts of every page with live fragments.

import "./relative_time.js";
import "./live_fragments.js";
import "./connection.js";
