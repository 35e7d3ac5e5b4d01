// The filter above the job table: each letter is in the URL at once, the server is asked after a pause.

import { refresh, setParam } from "./url_state.js";

const PAUSE_MS = 150;
let timer = 0;

document.addEventListener("input", ({ target }) => {
  if (target.id !== "filter-text") return;
  setParam("q", target.value);
  clearTimeout(timer);
  timer = setTimeout(refresh, PAUSE_MS);
});
