// Commands on their way: each press counts once, its button shows how long it takes, and what went wrong is said.

import { duration } from "./relative_time.js";

// What no one foresaw may have happened before a command was sent, or after.
const FAILED = 500;
const UNKNOWN = "Whether the command was sent is unknown: look into the audit first.";

const token = document.querySelector('meta[name="csrf-token"]').content;
const began = new Map(); // the forms whose command is under way, and since when

document.addEventListener("htmx:configRequest", ({ detail }) => {
  if (!detail.elt.matches(".command")) return;
  detail.headers["X-CSRF-Token"] = token;
  detail.headers["Idempotency-Key"] = uniqueKey();
});

document.addEventListener("htmx:beforeRequest", ({ detail }) => {
  if (!detail.elt.matches(".command")) return;
  began.set(detail.elt, Date.now());
  detail.elt.setAttribute("aria-busy", "true");
  tell();
  htmx.trigger("#line", "refresh");
});

document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (!began.delete(detail.elt)) return;
  detail.elt.removeAttribute("aria-busy");
  detail.elt.querySelector(".elapsed").textContent = "";
  htmx.trigger("#line", "refresh");
});

// A page without session can't do anything more. What goes wrong with a command is said where its answer would
// stand; whether the server answers at all is told by the parts (connection.js, which must come after this).
document.addEventListener("htmx:responseError", (event) => {
  const { elt, target, xhr } = event.detail;
  if (xhr.status === 401) location.reload();
  if (!elt.matches(".command")) return;
  event.stopImmediatePropagation();
  if (!isSentence(xhr)) say(target, `Something answered with status ${xhr.status} that is not the mirror. ${UNKNOWN}`, "unknown");
  else if (xhr.status === FAILED) say(target, `${xhr.responseText} ${UNKNOWN}`, "unknown");
  else say(target, xhr.responseText, "refused");
});

document.addEventListener("htmx:sendError", (event) => {
  const { detail } = event;
  if (!detail.elt.matches(".command")) return;
  event.stopImmediatePropagation();
  say(detail.target, `The mirror gave no answer. ${UNKNOWN}`, "unknown");
});

document.addEventListener("change", ({ target }) => {
  if (!target.matches("[data-oms]")) return;
  const link = target.form.querySelector(".oms");
  link.href = target.selectedOptions[0].dataset.address;
  link.querySelector("span").textContent = target.value;
});

function uniqueKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// The mirror's own word is a sentence; anything else comes from what stands between.
function isSentence(xhr) {
  return xhr.getResponseHeader("Content-Type")?.startsWith("text/plain");
}

function say(target, words, kind) {
  const paragraph = document.createElement("p");
  paragraph.className = `report report-${kind}`;
  paragraph.setAttribute("role", "alert");
  paragraph.textContent = words;
  target.replaceChildren(paragraph);
}

function tell() {
  for (const [form, since] of began) {
    form.querySelector(".elapsed").textContent = ` ${duration(Date.now() - since)}`;
  }
}

setInterval(tell, 1000);
