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
  const ranges = words && text ? rangesOf(text, words) : [];
  found.set(viewer, { ranges, here: -1 });
  CSS.highlights.set("found", new Highlight(...ranges));
  CSS.highlights.delete("found-here");
  tell(viewer, words);
}

// Not by small letters: there are some that take more room than their capitals, and move all places behind them.
function rangesOf(text, words) {
  const pattern = new RegExp(words.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"), "giu");
  return Array.from(text.data.matchAll(pattern), ({ index, 0: found }) => {
    const range = new Range();
    range.setStart(text, index);
    range.setEnd(text, index + found.length);
    return range;
  });
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
