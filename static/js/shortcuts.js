// Keyboard shortcuts, as listed in templates/_help.html. A page responds to those whose element it has.

const CLICKS = { ArrowLeft: "previous-run", ArrowRight: "next-run", d: "theme-toggle", u: "zone-toggle", c: "copy-summary", w: "wall-link" };
const FOCUSES = { "/": ["filter-text", "log-query"], r: ["go-to-run"] };
// Elements that use all keys themselves, and those that use the arrow keys.
const EDITABLE = "input, select, textarea";
const SCROLLABLE = "pre, [role=region]";

const isTaken = ({ key, target }) =>
  target.matches(EDITABLE) || (key.startsWith("Arrow") && target.closest(SCROLLABLE));

function followNewest() {
  const link = document.getElementById("follow");
  if (link?.getAttribute("aria-checked") === "false") link.click();
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && event.target.matches("input")) event.target.blur();
  if (event.ctrlKey || event.metaKey || event.altKey || isTaken(event)) return;
  const field = FOCUSES[event.key]?.map((id) => document.getElementById(id)).find(Boolean);
  if (field) {
    event.preventDefault();
    field.focus();
  } else if (event.key in CLICKS) {
    document.getElementById(CLICKS[event.key])?.click();
  } else if (event.key === "l") {
    followNewest();
  } else if (event.key === "?") {
    document.getElementById("help").togglePopover();
  }
});
