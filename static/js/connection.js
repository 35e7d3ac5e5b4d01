// The connection to the server: while it fails, a banner says so and that the data are old.

import { timeOfDay } from "./relative_time.js";
import { now } from "./server_clock.js";

const banner = document.getElementById("connection");
const message = banner.querySelector("p");
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
  message.textContent = `${why}${since}. The data shown are old.`;
  banner.hidden = false;
}
