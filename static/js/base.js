// What every page needs: parts that are kept up to date, ages, and whether the server answers.

import "./relative_time.js";
import "./live_fragments.js";
import "./connection.js";
