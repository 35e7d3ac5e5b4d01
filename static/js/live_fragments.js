// Live fragments: requested with their ETag, and morphed in place so that focus, scroll and selection stay. The timers
// of a hidden page run rarely, and those of a sleeping computer not at all: it is updated as soon as it is seen again.

import { updateTimes } from "./relative_time.js";
import { setClock } from "./server_clock.js";

const etags = new Map(); // by the id of the fragment

// An element that a script has filled is preserved; its data attributes, the script's input, are updated.
Idiomorph.defaults.ignoreActiveValue = true;
Idiomorph.defaults.callbacks.beforeNodeMorphed = (from, to) => {
  if (!from.dataset || !("preserve" in from.dataset)) return true;
  Object.assign(from.dataset, to.dataset);
  return false;
};

// In place of the extension of the same name: scripts may change a response before it is shown.
htmx.defineExtension("morph", {
  isInlineSwap: (style) => style === "morph",
  handleSwap(style, target, response) {
    if (style !== "morph") return false;
    document.dispatchEvent(new CustomEvent("beforemorph", { detail: response }));
    return Idiomorph.morph(target, response.children, { morphStyle: "outerHTML" });
  },
});

document.addEventListener("htmx:configRequest", ({ detail }) => {
  const etag = etags.get(detail.elt.id);
  if (etag) detail.headers["If-None-Match"] = etag;
});

document.addEventListener("htmx:beforeOnLoad", ({ detail }) => {
  setClock(detail.xhr.getResponseHeader("Server-Time"));
  updateTimes();
});

// htmx sends an event per swapped element; scripts get one "fragment" event per response, with the fragment's id.
let lastResponse = null;
document.addEventListener("htmx:afterSwap", ({ detail }) => {
  if (detail.xhr === lastResponse) return;
  lastResponse = detail.xhr;
  const { id } = detail.requestConfig.elt;
  if (id) etags.set(id, detail.xhr.getResponseHeader("ETag"));
  updateTimes();
  document.dispatchEvent(new CustomEvent("fragment", { detail: id }));
});

function refreshAll() {
  for (const part of document.querySelectorAll("[hx-trigger*=every]")) htmx.trigger(part, "refresh");
}

document.addEventListener("visibilitychange", () => document.hidden || refreshAll());
// A page from the back and forward cache is as old as it was left.
addEventListener("pageshow", ({ persisted }) => persisted && refreshAll());
addEventListener("online", refreshAll);
