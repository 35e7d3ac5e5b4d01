// The connection to the server: while it fails, a banner says so and that the data are old. What the page says of
// the age of its data does not depend on further responses.

import { now } from "./server_clock.js";
import { timeOfDay } from "./time_format.js";

const banner = document.getElementById("connection");
const message = banner.querySelector("p");
const DAY_MS = 24 * 60 * 60 * 1000;
const failing = new Set(); // ids of the fragments whose last request failed

let lastSuccessAt = null;

document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (detail.xhr.status >= 200 && detail.xhr.status < 400) succeeded(detail.elt.id);
});
document.addEventListener("htmx:sendError", ({ detail }) => failed(detail.elt.id, "This browser can’t reach the mirror"));
document.addEventListener("htmx:timeout", ({ detail }) => failed(detail.elt.id, "The mirror does not respond"));
document.addEventListener("htmx:responseError", ({ detail }) => failed(detail.elt.id, reason(detail.xhr)));

// The server's own errors are plain text; anything else comes from a proxy.
function reason(xhr) {
  const isPlainText = xhr.getResponseHeader("Content-Type")?.startsWith("text/plain");
  return isPlainText ? xhr.responseText.trim().replace(/\.$/, "") : `The mirror responds with an error (${xhr.status})`;
}

function succeeded(fragment) {
  failing.delete(fragment);
  if (failing.size) return;
  lastSuccessAt = now();
  banner.hidden = true;
}

function failed(fragment, why) {
  failing.add(fragment);
  const since = lastSuccessAt === null ? "" : `, since ${timeOfDay(lastSuccessAt)}`;
  // Set by url_state.js until the response to a click is shown.
  const pending = "pendingClick" in document.body.dataset ? " Your last click takes effect when it responds again." : "";
  message.textContent = `${why}${since}. The data shown are old.${pending}`;
  banner.hidden = false;
  showLastKnown();
}

// When the verdict on the run was last known: before the outage, or before the connection failed.
function showLastKnown() {
  const place = document.querySelector(".last-known-at");
  if (!place) return;
  const outage = document.querySelector("[data-stale] time[data-at]");
  const at = outage ? Number(outage.dataset.at) : lastSuccessAt;
  const isLongAgo = outage && now() - at > DAY_MS;
  place.textContent = at === null ? "" : ` at ${isLongAgo ? outage.textContent : timeOfDay(at)}`;
}

// The server marks machines whose data are old, but not while it can't be reached.
function markStaleMachines() {
  const at = now();
  if (at === null) return;
  const limit = Number(document.getElementById("freshness")?.dataset.staleAfterMs);
  for (const machine of document.querySelectorAll(".machine-freshness:not(.is-stale)")) {
    const age = machine.querySelector(".ago");
    if (!age || at - Number(age.dataset.ago) <= limit) continue;
    machine.classList.add("is-stale");
    const icon = machine.querySelector("use");
    icon.setAttribute("href", icon.getAttribute("href").replace("check-circle-fill", "exclamation-triangle-fill"));
  }
}

document.addEventListener("fragment", showLastKnown);
setInterval(markStaleMachines, 1000);
showLastKnown();
