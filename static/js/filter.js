// The filter above the table: each letter typed is a view of its own, without a step in the history.

import { go, parameters } from "./address.js";

const PAUSE_MS = 150;
let pending = 0;

function ask(words) {
  const query = parameters();
  if (words) query.set("q", words);
  else query.delete("q");
  go(`?${query}`, { isStep: false });
}

document.addEventListener("input", ({ target }) => {
  if (target.id !== "words") return;
  clearTimeout(pending);
  pending = setTimeout(() => ask(target.value), PAUSE_MS);
});

document.addEventListener("submit", (event) => {
  if (event.target.id !== "filter") return;
  event.preventDefault();
  clearTimeout(pending);
  ask(event.target.elements.words.value);
});
