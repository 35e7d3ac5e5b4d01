// What the reader chose stands in the page's address; the run's part is always asked for as that says.

const RUN = "run";

/** Goes to another view of the page without loading it anew. */
export function go(search, { isStep = true } = {}) {
  if (isStep) history.pushState(null, "", search);
  else history.replaceState(null, "", search);
  show();
}

/** The parameters of the page's address. */
export function parameters() {
  return new URLSearchParams(location.search);
}

/** Asks for the run's part now; an answer that is still under way would be of another view. */
export function show() {
  const run = document.getElementById(RUN);
  htmx.trigger(run, "htmx:abort");
  htmx.trigger(run, "refresh");
}

document.addEventListener("htmx:configRequest", ({ detail }) => {
  if (detail.elt.id === RUN) detail.path = detail.path.split("?")[0] + location.search;
});

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-view]");
  const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
  if (!link || !isPlain) return;
  event.preventDefault();
  go(link.search);
});

addEventListener("popstate", show);
