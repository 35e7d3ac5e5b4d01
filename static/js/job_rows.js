// The rows of the job table: a click anywhere on a row expands its job, arrow keys move from row to row, and Enter in the
// filter expands the first one.

import { RUN, isExpanded, isPlainClick, refresh } from "./url_state.js";

const EXPANDERS = ".client:not([hidden]) > .job a.expander";
const STEPS = { ArrowDown: 1, ArrowUp: -1 };

// Enter was pressed in the filter before the rows for it had arrived.
let isOpening = false;

document.addEventListener("click", (event) => {
  const { target } = event;
  if (!isPlainClick(event) || target.closest("a, button, input") || !getSelection().isCollapsed) return;
  target.closest(".job")?.querySelector("a.expander")?.click();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || !(event.key in STEPS)) return;
  const next = expanderAfter(event.target, STEPS[event.key]);
  if (!next) return;
  event.preventDefault();
  next.focus();
});

// Beyond the first and the last row the keys scroll the page as usual.
function expanderAfter(element, by) {
  const expanders = [...document.querySelectorAll(EXPANDERS)];
  const current = element.closest(".job")?.querySelector("a.expander");
  if (current) return expanders[expanders.indexOf(current) + by];
  const isBefore = element === document.body || element.id === "filter-text";
  return isBefore && by > 0 ? expanders[0] : undefined;
}

document.addEventListener("submit", (event) => {
  if (event.target.id !== "job-filter") return;
  event.preventDefault();
  isOpening = true;
  openFirst();
  if (isOpening) refresh();
});

document.addEventListener("fragment", openFirst);

function openFirst() {
  const filter = document.getElementById("filter-text");
  if (!isOpening || !filter || filter.value !== filterOfRows()) return;
  isOpening = false;
  const expander = document.querySelector(EXPANDERS);
  if (!expander) return;
  expander.focus();
  if (!isExpanded(expander)) expander.click();
}

// The filter by which the rows on the page were selected.
function filterOfRows() {
  const url = new URL(document.getElementById(RUN).getAttribute("hx-get"), location.href);
  return url.searchParams.get("q") ?? "";
}

// A reader who continues to type wants to see the rows.
document.addEventListener("input", () => {
  isOpening = false;
});
