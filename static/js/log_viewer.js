// The log: search within it, and steps from one warning or error to the next.

const form = () => document.getElementById("log-search");
const lines = () => document.getElementById("log-lines");

let found = []; // ranges of what is searched for
let here = -1;

/** Marks what is searched for; CSS paints it, so that the lines stay as they are. */
function search({ isNew = true } = {}) {
  const words = document.getElementById("log-query").value.toLowerCase();
  found = words && lines() ? [...lines().querySelectorAll("code")].flatMap((code) => ranges(code, words)) : [];
  CSS.highlights.set("found", new Highlight(...found));
  if (isNew) here = -1;
  tell();
}

function ranges(code, words) {
  const text = code.firstChild;
  if (!text) return [];
  const lower = text.data.toLowerCase();
  const at = [];
  for (let start = lower.indexOf(words); start >= 0; start = lower.indexOf(words, start + words.length)) {
    const range = new Range();
    range.setStart(text, start);
    range.setEnd(text, start + words.length);
    at.push(range);
  }
  return at;
}

function step(by) {
  if (!found.length) return;
  here = (here + by + found.length) % found.length;
  CSS.highlights.set("found-here", new Highlight(found[here]));
  found[here].startContainer.parentElement.scrollIntoView({ block: "center" });
  tell();
}

function tell() {
  const words = document.getElementById("log-query").value;
  if (here < 0) CSS.highlights.delete("found-here");
  document.getElementById("log-matches").textContent = words && (here < 0 ? `${found.length} found` : `${here + 1} of ${found.length}`);
}

// From the line at the top of the window to the next one of a severity at which something begins.
function jump(severity) {
  const begins = [...document.querySelectorAll(`#log-lines .${severity}`)].filter(
    (line) => !line.previousElementSibling?.classList.contains(severity),
  );
  const shown = document.querySelector("#log-lines :target");
  const next = begins.find((line) => !shown || shown.compareDocumentPosition(line) & Node.DOCUMENT_POSITION_FOLLOWING);
  location.hash = (next ?? begins[0]).id;
}

document.addEventListener("input", ({ target }) => {
  if (target.id === "log-query") search();
});
document.addEventListener("submit", (event) => {
  if (event.target.id !== "log-search") return;
  event.preventDefault();
  step(1);
});
document.addEventListener("keydown", (event) => {
  if (event.target.id === "log-query" && event.key === "Enter" && event.shiftKey) {
    event.preventDefault();
    step(-1);
  }
});
document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-jump]");
  if (!link) return;
  event.preventDefault();
  jump(link.dataset.jump);
});
// The lines are new after an update; what is searched for is found in them again.
document.addEventListener("part", () => search({ isNew: false }));

form().hidden = false;
