// What every page needs: parts that are kept up to date, ages, and whether the server answers.

import "./ages.js";
import "./parts.js";
import "./connection.js";
