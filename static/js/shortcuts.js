// The keyboard: / to the filter, [ and ] from run to run, n to the newest, r to go to a run, ? for this list.

const CLICKS = { "[": "previous-run", "]": "next-run", t: "theme", c: "copy-state" };
const FIELDS = { "/": "words", r: "go-to-run" };

function follow() {
  const link = document.getElementById("follow");
  if (link?.getAttribute("aria-checked") === "false") link.click();
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && event.target.matches("input")) event.target.blur();
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  const field = document.getElementById(FIELDS[event.key]);
  if (field) {
    event.preventDefault();
    field.focus();
  } else if (event.key in CLICKS) {
    document.getElementById(CLICKS[event.key])?.click();
  } else if (event.key === "n") {
    follow();
  } else if (event.key === "?") {
    document.getElementById("help")?.togglePopover();
  }
});
