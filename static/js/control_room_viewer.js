// Logs of daemons as they were answered: search within them, steps from one place to the next, download.

const found = new WeakMap(); // by viewer: the ranges of what is searched for, and which one is looked at

document.addEventListener("input", ({ target }) => {
  if (target.matches("[data-viewer-words]")) search(target.closest("[data-viewer]"), target.value);
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !event.target.matches("[data-viewer-words]")) return;
  event.preventDefault();
  step(event.target.closest("[data-viewer]"), event.shiftKey ? -1 : 1);
});

document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-viewer-download]");
  if (button) download(button.closest("[data-viewer]"));
});

// A log is read from its end.
document.addEventListener("htmx:afterSwap", ({ detail }) => {
  for (const log of detail.target.querySelectorAll("[data-viewer-text]")) log.scrollTop = log.scrollHeight;
});

function search(viewer, words) {
  const text = viewer.querySelector("[data-viewer-text]").firstChild;
  const ranges = words && text ? rangesOf(text, words.toLowerCase()) : [];
  found.set(viewer, { ranges, here: -1 });
  CSS.highlights.set("found", new Highlight(...ranges));
  CSS.highlights.delete("found-here");
  tell(viewer, words);
}

function rangesOf(text, words) {
  const lower = text.data.toLowerCase();
  const ranges = [];
  for (let start = lower.indexOf(words); start >= 0; start = lower.indexOf(words, start + words.length)) {
    const range = new Range();
    range.setStart(text, start);
    range.setEnd(text, start + words.length);
    ranges.push(range);
  }
  return ranges;
}

function step(viewer, by) {
  const state = found.get(viewer);
  if (!state?.ranges.length) return;
  state.here = (state.here + by + state.ranges.length) % state.ranges.length;
  const range = state.ranges[state.here];
  CSS.highlights.set("found-here", new Highlight(range));
  const log = viewer.querySelector("[data-viewer-text]");
  log.scrollTop += range.getBoundingClientRect().top - log.getBoundingClientRect().top - log.clientHeight / 2;
  tell(viewer, true);
}

function tell(viewer, isSearching) {
  const { ranges, here } = found.get(viewer);
  const words = here < 0 ? `${ranges.length} found` : `${here + 1} of ${ranges.length}`;
  viewer.querySelector("[data-viewer-found]").textContent = isSearching ? words : "";
}

function download(viewer) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([viewer.querySelector("[data-viewer-text]").textContent], { type: "text/plain" }));
  link.download = `${viewer.dataset.viewer}.log`;
  link.click();
  URL.revokeObjectURL(link.href);
}
