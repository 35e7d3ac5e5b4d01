// Whether the server answers. If it doesn't, the page says so, and that what it shows is old, until it does.

import { timeOfDay } from "./relative_time.js";
import { now } from "./server_clock.js";

const banner = document.getElementById("connection");
const words = banner.querySelector("p");
const failed = new Map(); // the parts that could not be had, and why

let workedAt = null;

document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (detail.xhr.status >= 200 && detail.xhr.status < 400) works(detail.elt.id);
});
document.addEventListener("htmx:sendError", ({ detail }) => fails(detail.elt.id, "This browser can’t reach the mirror"));
document.addEventListener("htmx:timeout", ({ detail }) => fails(detail.elt.id, "The mirror does not answer"));
document.addEventListener("htmx:responseError", ({ detail }) => fails(detail.elt.id, reason(detail.xhr)));

// A refusal is a sentence of the server's; anything else comes from what stands between.
function reason(xhr) {
  const isSentence = xhr.getResponseHeader("Content-Type")?.startsWith("text/plain");
  return isSentence ? xhr.responseText.trim().replace(/\.$/, "") : `The mirror answers with an error (${xhr.status})`;
}

function works(part) {
  failed.delete(part);
  if (failed.size) return;
  workedAt = now();
  banner.hidden = true;
}

function fails(part, why) {
  failed.set(part, why);
  const since = workedAt === null ? "" : ` since ${timeOfDay(workedAt)}`;
  words.textContent = `${why}${since}. What is shown is old.`;
  banner.hidden = false;
}
