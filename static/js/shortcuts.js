// The keyboard: ← and → from run to run, l to the newest, r to go to a run, / to the filter, c to copy the run's
// state, d light or dark, ? what is what. A page has what it has of these.

const CLICKS = { ArrowLeft: "previous-run", ArrowRight: "next-run", d: "theme-toggle", c: "copy-summary" };
const FIELDS = { "/": "filter-text", r: "go-to-run" };
// Where all keys have a meaning of their own, and where arrows have: they scroll, or go from cell to cell.
const WRITING = "input, select, textarea";
const SCROLLING = "pre, [role=region]";

const isTaken = ({ key, target }) =>
  target.matches(WRITING) || (key.startsWith("Arrow") && target.closest(SCROLLING));

function follow() {
  const link = document.getElementById("follow");
  if (link?.getAttribute("aria-checked") === "false") link.click();
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && event.target.matches("input")) event.target.blur();
  if (event.ctrlKey || event.metaKey || event.altKey || isTaken(event)) return;
  const field = document.getElementById(FIELDS[event.key]);
  if (field) {
    event.preventDefault();
    field.focus();
  } else if (event.key in CLICKS) {
    document.getElementById(CLICKS[event.key])?.click();
  } else if (event.key === "l") {
    follow();
  } else if (event.key === "?") {
    document.getElementById("help").togglePopover();
  }
});
