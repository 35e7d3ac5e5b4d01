// Log viewers: search, steps from one warning or error to the next, download. The log of a job is a list of lines,
// that of a daemon a <pre> with a scroll bar of its own.

import { TextSearch } from "./text_search.js";

const searches = new WeakMap(); // by viewer

function searchOf(viewer) {
  if (!searches.has(viewer)) searches.set(viewer, new TextSearch());
  return searches.get(viewer);
}

function search(viewer, options) {
  const elements = viewer.querySelectorAll("[data-log-text] code, pre[data-log-text]");
  const nodes = [...elements].map((element) => element.firstChild).filter(Boolean);
  searchOf(viewer).find(nodes, viewer.querySelector("[data-log-query]").value, options);
  showStatus(viewer);
}

function step(viewer, by) {
  const match = searchOf(viewer).step(by);
  if (match) scrollTo(match);
  showStatus(viewer);
}

function showStatus(viewer) {
  viewer.querySelector("[data-log-matches]").textContent = searchOf(viewer).status;
}

function scrollTo(range) {
  const element = range.startContainer.parentElement;
  if (!element.matches("pre")) {
    element.scrollIntoView({ block: "center" });
    return;
  }
  const offset = range.getBoundingClientRect().top - element.getBoundingClientRect().top;
  element.scrollTop += offset - element.clientHeight / 2;
}

// From the line in the URL to the next one at which a block of a severity starts.
function jump(severity) {
  const starts = [...document.querySelectorAll(`#log-lines .${severity}`)].filter(
    (line) => !line.previousElementSibling?.classList.contains(severity),
  );
  const current = document.querySelector("#log-lines :target");
  const isAfter = (line) => !current || current.compareDocumentPosition(line) & Node.DOCUMENT_POSITION_FOLLOWING;
  location.hash = (starts.find(isAfter) ?? starts[0]).id;
}

function download(viewer) {
  const text = viewer.querySelector("[data-log-text]").textContent;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = `${viewer.dataset.logViewer}.log`;
  link.click();
  URL.revokeObjectURL(link.href);
}

const viewerOf = (element) => element.closest("[data-log-viewer]");

document.addEventListener("input", ({ target }) => {
  if (target.matches("[data-log-query]")) search(viewerOf(target));
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !event.target.matches("[data-log-query]")) return;
  event.preventDefault();
  step(viewerOf(event.target), event.shiftKey ? -1 : 1);
});
// On-screen keyboards may submit the form without a key event.
document.addEventListener("submit", (event) => {
  if (event.target.id !== "log-search") return;
  event.preventDefault();
  step(viewerOf(event.target), 1);
});
document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-jump]");
  if (link) {
    event.preventDefault();
    jump(link.dataset.jump);
  }
  const button = event.target.closest("[data-log-download]");
  if (button) download(viewerOf(button));
});
// The newest lines of a daemon's log are at its end.
document.addEventListener("htmx:afterSwap", ({ detail }) => {
  for (const log of detail.target.querySelectorAll("pre[data-log-text]")) log.scrollTop = log.scrollHeight;
});
// An update replaces the lines of a job's log, and with them the matches.
document.addEventListener("fragment", () => {
  const lines = document.getElementById("log-lines");
  if (lines) search(viewerOf(lines), { keepCurrent: true });
});
