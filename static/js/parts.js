// The live parts: asked for only if they changed, and morphed in place so that nothing else of the page moves.

import { fill } from "./ages.js";
import { learn } from "./server_clock.js";

const known = new Map();

// What a script has drawn stays; its data attributes, by which it knows what to draw, are brought up to date.
Idiomorph.defaults.ignoreActiveValue = true;
Idiomorph.defaults.callbacks.beforeNodeMorphed = (from, to) => {
  if (!from.dataset || !("drawn" in from.dataset)) return true;
  Object.assign(from.dataset, to.dataset);
  return false;
};

document.addEventListener("htmx:configRequest", ({ detail }) => {
  const part = known.get(detail.elt.id);
  if (part?.path === detail.path) detail.headers["If-None-Match"] = part.tag;
});

document.addEventListener("htmx:beforeOnLoad", ({ detail }) => {
  learn(detail.xhr.getResponseHeader("Server-Time"));
  const tag = detail.xhr.getResponseHeader("ETag");
  if (detail.xhr.status === 200 && tag) {
    known.set(detail.elt.id, { path: detail.pathInfo.requestPath, tag });
  }
  fill();
});

document.addEventListener("htmx:afterSwap", fill);
