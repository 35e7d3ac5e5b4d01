// The live parts: asked for only if they changed, and morphed in place so that nothing else of the page moves.

import { fill } from "./relative_time.js";
import { learn } from "./server_clock.js";

// The entity tag of what each part shows; a tag is made of the content, whatever address it came from.
const tags = new Map();

// What a script has drawn stays; its data attributes, by which it knows what to draw, are brought up to date.
Idiomorph.defaults.ignoreActiveValue = true;
Idiomorph.defaults.callbacks.beforeNodeMorphed = (from, to) => {
  if (!from.dataset || !("preserve" in from.dataset)) return true;
  Object.assign(from.dataset, to.dataset);
  return false;
};

document.addEventListener("htmx:configRequest", ({ detail }) => {
  const tag = tags.get(detail.elt.id);
  if (tag) detail.headers["If-None-Match"] = tag;
});

document.addEventListener("htmx:beforeOnLoad", ({ detail }) => {
  learn(detail.xhr.getResponseHeader("Server-Time"));
  fill();
});

// htmx tells of each element that an answer brings; the page is told once, by "part" with the part's id.
let told = null;
document.addEventListener("htmx:afterSwap", ({ detail }) => {
  if (detail.xhr === told) return;
  told = detail.xhr;
  const { id } = detail.requestConfig.elt;
  if (id) tags.set(id, detail.xhr.getResponseHeader("ETag"));
  fill();
  document.dispatchEvent(new CustomEvent("part", { detail: id }));
});
