// Commands in progress: each click is sent once, the button shows the elapsed time, and errors are reported.

import { duration } from "./relative_time.js";

const UNAUTHORIZED = 401;
const INTERNAL_ERROR = 500;
const UNKNOWN = "Whether the command was sent is unknown: check the audit first.";

const token = document.querySelector('meta[name="csrf-token"]').content;
let isReadsOpen = false;
const startTimes = new Map(); // by form, for commands in progress

document.addEventListener("htmx:configRequest", ({ detail }) => {
  if (!detail.elt.matches(".command")) return;
  detail.headers["X-CSRF-Token"] = token;
  detail.headers["Idempotency-Key"] = uniqueKey();
});

document.addEventListener("htmx:beforeRequest", ({ detail }) => {
  if (!detail.elt.matches(".command")) return;
  startTimes.set(detail.elt, Date.now());
  detail.elt.setAttribute("aria-busy", "true");
  detail.elt.toggleAttribute("data-had-focus", detail.elt.contains(document.activeElement));
  showElapsed();
  htmx.trigger("#activity", "refresh");
});

document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (!startTimes.delete(detail.elt)) return;
  detail.elt.removeAttribute("aria-busy");
  detail.elt.querySelector(".elapsed").textContent = "";
  setTimeout(() => returnFocus(detail.elt));
  htmx.trigger("#activity", "refresh");
});

// A button loses the focus when it is disabled. Later than htmx, which enables that of a finished command.
function returnFocus(form) {
  if ("hadFocus" in form.dataset && document.activeElement === document.body) {
    form.querySelector("button").focus({ preventScroll: true });
  }
}

// A result below the end of the window is brought into view.
document.addEventListener("htmx:afterSwap", ({ detail }) => {
  if (detail.requestConfig.elt.matches(".command")) detail.target.querySelector(".result")?.scrollIntoView({ block: "nearest" });
});

// A command's error is shown in place of its result; connection.js, which must be imported after this, reports
// whether the server responds at all.
document.addEventListener("htmx:responseError", (event) => {
  const { elt, target, xhr } = event.detail;
  if (xhr.status === UNAUTHORIZED) endSession();
  if (!elt.matches(".command")) {
    if (xhr.status === UNAUTHORIZED) event.stopImmediatePropagation();
    return;
  }
  event.stopImmediatePropagation();
  if (!isFromMirror(xhr)) show(target, `A proxy answered with status ${xhr.status}. ${UNKNOWN}`, "unknown");
  else if (xhr.status === INTERNAL_ERROR) show(target, `${xhr.responseText} ${UNKNOWN}`, "unknown");
  else show(target, xhr.responseText, "refused");
});

document.addEventListener("htmx:sendError", (event) => {
  const { detail } = event;
  if (!detail.elt.matches(".command")) return;
  event.stopImmediatePropagation();
  show(detail.target, `The mirror did not respond. ${UNKNOWN}`, "unknown");
});

document.addEventListener("change", ({ target }) => {
  if (!target.matches("[data-oms]")) return;
  const link = target.form.querySelector(".oms");
  link.href = target.selectedOptions[0].dataset.address;
  link.querySelector("span").textContent = target.value;
});

// Responses stay on screen, but nothing can be sent.
function endSession() {
  document.getElementById("session-ended").hidden = false;
  // Later than htmx, which enables the button of a finished command.
  setTimeout(() => {
    for (const button of document.querySelectorAll(".command button")) button.disabled = true;
  });
  stopPolling();
}

function stopPolling() {
  // A copy is not polled by htmx.
  for (const part of document.querySelectorAll("#activity, #cluster-state")) part.replaceWith(part.cloneNode(true));
}

// Signing out leaves the page; a poll after that would be refused.
document.addEventListener("submit", ({ target }) => {
  if (target.matches(".control-nav form")) stopPolling();
});

// Whether the list of reads is open is the reader's choice, which a newer fragment does not know.
document.addEventListener("htmx:beforeSwap", () => {
  isReadsOpen = document.getElementById("reads")?.open ?? isReadsOpen;
});
document.addEventListener("htmx:afterSwap", () => {
  const reads = document.getElementById("reads");
  if (reads) reads.open = isReadsOpen;
});

// crypto.randomUUID needs HTTPS, which a development server does not have.
function uniqueKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// The mirror's own errors are plain text; a proxy's are HTML pages.
function isFromMirror(xhr) {
  return xhr.getResponseHeader("Content-Type")?.startsWith("text/plain");
}

function show(target, message, outcome) {
  const paragraph = document.createElement("p");
  paragraph.className = `result result-${outcome}`;
  paragraph.setAttribute("role", "alert");
  paragraph.textContent = message;
  target.replaceChildren(paragraph);
}

function showElapsed() {
  for (const [form, since] of startTimes) {
    form.querySelector(".elapsed").textContent = ` ${duration(Date.now() - since)}`;
  }
}

setInterval(showElapsed, 1000);
