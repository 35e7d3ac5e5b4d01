// The connection to the server: while it fails, a banner says so and that the data are old. A restart of the server
// passes unnoticed. What the page says of the age of its data does not depend on further responses.

import { now } from "./server_clock.js";
import { timeOfDay } from "./time_format.js";

const banner = document.getElementById("connection");
const message = banner.querySelector("p");
const DAY_MS = 24 * 60 * 60 * 1000;
// Longer than a restart of the server, and shorter than data take to become old.
const GRACE_MS = 10_000;
const RETRY_MS = 5_000;
const TICK_MS = 1000;
const failing = new Map(); // by element: a part of the page whose last request failed, since when, and why

let lastSuccessAt = null;

/** Start (unix ms) of a failure to reach the server, and its reason; `null` if the server can be reached. */
export function connectionFailure() {
  const [first] = failing.values();
  return first ? { since: first.since, text: first.why } : null;
}

document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (detail.xhr.status >= 200 && detail.xhr.status < 400) succeeded(detail.elt);
});
document.addEventListener("htmx:sendError", ({ detail }) => failed(detail.elt, "This browser can’t reach the mirror"));
document.addEventListener("htmx:timeout", ({ detail }) => failed(detail.elt, "The mirror does not respond"));
document.addEventListener("htmx:responseError", ({ detail }) => failed(detail.elt, reason(detail.xhr)));

// The server's own errors are plain text; anything else comes from a proxy.
function reason(xhr) {
  const isPlainText = xhr.getResponseHeader("Content-Type")?.startsWith("text/plain");
  return isPlainText ? xhr.responseText.trim().replace(/\.$/, "") : `The mirror responds with an error (${xhr.status})`;
}

// Parts of the page load themselves; a form reports its failure itself.
const isPart = (element) => element.matches("[hx-get][hx-trigger]");

function succeeded(element) {
  if (isPart(element)) lastSuccessAt = now();
  failing.delete(element);
  // What the page began with has been replaced.
  if (isPart(element) && element.id !== "freshness") document.getElementById("outdated")?.remove();
  showFailure();
}

function failed(element, why) {
  if (!isPart(element)) return;
  failing.set(element, { since: failing.get(element)?.since ?? now() ?? Date.now(), failedAt: Date.now(), why });
  showFailure();
}

// The freshness of the data is up to date, and has a banner with the cause.
function isExplained() {
  const freshness = document.getElementById("freshness");
  return !failing.has(freshness) && freshness?.querySelector("[data-stale]") != null;
}

function showFailure() {
  for (const element of failing.keys()) if (!element.isConnected) failing.delete(element);
  const failure = connectionFailure();
  // Set by url_state.js until the response to a click is shown.
  const isClickPending = "pendingClick" in document.body.dataset;
  const isLong = failure && (now() ?? Date.now()) - failure.since >= GRACE_MS;
  const isShown = failure && (isClickPending || (isLong && !isExplained()));
  if (isShown) {
    const since = lastSuccessAt === null ? "" : `, since ${timeOfDay(lastSuccessAt)}`;
    const pending = isClickPending ? " Your last click takes effect when it responds again." : "";
    setText(`${failure.text}${since}. The data shown are old.${pending}`);
  }
  if (banner.hidden !== !isShown) banner.hidden = !isShown;
  showLastKnown();
}

function setText(text) {
  if (message.textContent !== text) message.textContent = text;
}

// A part that loads once, such as further rows of a table, is requested again.
function retry() {
  for (const [element, { failedAt }] of failing) {
    if (Date.now() - failedAt >= RETRY_MS) htmx.trigger(element, "refresh");
  }
}

// When the verdict on the run was last known: before the outage, or before the connection failed. An outage of one
// machine has no such time: the verdict follows from newer data of the others as well.
function showLastKnown() {
  const place = document.querySelector(".last-known-at");
  if (!place) return;
  const outage = document.querySelector("[data-stale]:not([data-machine]) time[data-at]");
  const isPartial = !failing.size && document.querySelector("[data-stale][data-machine]");
  const at = outage ? Number(outage.dataset.at) : isPartial ? null : lastSuccessAt;
  const isLongAgo = outage && now() - at > DAY_MS;
  const text = at === null ? "" : ` at ${isLongAgo ? outage.textContent : timeOfDay(at)}`;
  if (place.textContent !== text) place.textContent = text;
}

// The server marks machines whose data are old, but not while it can't be reached.
function markStaleMachines() {
  const at = now();
  if (at === null) return;
  const limit = Number(document.getElementById("freshness")?.dataset.staleAfterMs);
  for (const machine of document.querySelectorAll(".machine-freshness:not(.is-stale)")) {
    const age = machine.querySelector(".ago");
    if (age && at - Number(age.dataset.ago) > limit) machine.classList.add("is-stale");
  }
}

function tick() {
  markStaleMachines();
  if (!failing.size) return;
  showFailure();
  retry();
}

document.addEventListener("fragment", showLastKnown);
setInterval(tick, TICK_MS);
showLastKnown();
