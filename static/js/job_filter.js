// The filter above the table: the address has each letter at once, the server is asked after the last.

import { ask, note } from "./url_state.js";

const PAUSE_MS = 150;
let pending = 0;

document.addEventListener("input", ({ target }) => {
  if (target.id !== "filter-text") return;
  note("q", target.value);
  clearTimeout(pending);
  pending = setTimeout(ask, PAUSE_MS);
});

document.addEventListener("submit", (event) => {
  if (event.target.id !== "job-filter") return;
  event.preventDefault();
  ask();
});
