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

// A text that is set again would be spoken again.
function showStatus(viewer) {
  const output = viewer.querySelector("[data-log-matches]");
  const { status } = searchOf(viewer);
  if (output.textContent !== status) output.textContent = status;
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

// Steps to the next (1) or previous (-1) message of a severity, from the line in the URL, around the end.
function jump(severity, by) {
  const starts = startsOf(severity);
  if (!starts.length) return;
  const current = linkedLine();
  const isBeyond = (line) => current && current.compareDocumentPosition(line) & direction(by);
  const ahead = by > 0 ? starts.find((line) => !current || isBeyond(line)) : starts.findLast(isBeyond);
  // Without an entry in the history: Back leaves the page.
  location.replace(`#${(ahead ?? starts.at(by > 0 ? 0 : -1)).id}`);
}

// Messages that the last good run has logged as well are skipped, unless there are no others.
function startsOf(severity) {
  const starts = [...document.querySelectorAll(`#log-lines .${severity}[data-start]`)];
  const unknown = starts.filter((line) => !line.classList.contains("known"));
  return unknown.length ? unknown : starts;
}

const direction = (by) => (by > 0 ? Node.DOCUMENT_POSITION_FOLLOWING : Node.DOCUMENT_POSITION_PRECEDING);

// The line that the URL names, by its number or as the fatal one.
function linkedLine() {
  return document.querySelector("#log-lines :target")?.closest("li") ?? null;
}

// "2 of " in front of "5 errors" while the line in the URL is the start of one.
function showPositions() {
  for (const group of document.querySelectorAll("#log [data-jump]")) {
    const at = startsOf(group.dataset.jump).indexOf(linkedLine());
    group.querySelector("[data-jump-position]").textContent = at < 0 ? "" : `${at + 1} of `;
  }
}

// A click on a line's number is a link to it in the URL and in the clipboard.
async function copyLineLink(link) {
  const status = document.getElementById("line-link");
  const line = link.textContent;
  try {
    await navigator.clipboard.writeText(link.href);
    status.textContent = `Link to line ${line} copied`;
  } catch {
    // Denied, or not available without HTTPS.
    status.textContent = `The address bar has the link to line ${line}`;
  }
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
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  if (event.key === "e") jump("error", 1);
  if (event.key === "E") jump("error", -1);
});
// On-screen keyboards may submit the form without a key event.
document.addEventListener("submit", (event) => {
  if (event.target.id !== "log-search") return;
  event.preventDefault();
  step(viewerOf(event.target), 1);
});
document.addEventListener("click", (event) => {
  const step = event.target.closest("[data-jump-by]");
  if (step) {
    event.preventDefault();
    jump(step.parentElement.dataset.jump, Number(step.dataset.jumpBy));
  }
  const lineNumber = event.target.closest("#log-lines a");
  if (lineNumber) copyLineLink(lineNumber);
  const button = event.target.closest("[data-log-download]");
  if (button) download(viewerOf(button));
});
// The newest lines of a daemon's log are at its end.
document.addEventListener("htmx:afterSwap", ({ detail }) => {
  for (const log of detail.target.querySelectorAll("pre[data-log-text]")) log.scrollTop = log.scrollHeight;
});
// An update replaces the lines of a job's log, and with them the matches.
document.addEventListener("fragment", ({ detail: id }) => {
  if (id !== "job") return;
  const lines = document.getElementById("log-lines");
  if (lines) search(viewerOf(lines), { keepCurrent: true });
  showPositions();
});
addEventListener("hashchange", showPositions);
showPositions();
