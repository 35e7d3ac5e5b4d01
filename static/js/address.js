// What the reader chose stands in the page's address; the run's part is always asked for as that says.

const RUN = "run";

/** The parameters of the page's address. */
export function parameters() {
  return new URLSearchParams(location.search);
}

/** Changes one parameter of the address, or takes it away, without a step in the history. */
export function note(name, value) {
  const query = parameters();
  if (value) query.set(name, value);
  else query.delete(name);
  history.replaceState(null, "", `?${query}`);
}

/** Asks for the run's part now; an answer that is still under way would be of another view. */
export function ask() {
  const run = document.getElementById(RUN);
  htmx.trigger(run, "htmx:abort");
  htmx.trigger(run, "refresh");
}

// A link says what it changes. The rest of its address may be older than what the reader chose since.
function changed(link) {
  const query = parameters();
  const asked = new URLSearchParams(link.search);
  for (const name of link.dataset.view.split(" ")) {
    if (asked.has(name)) query.set(name, asked.get(name));
    else query.delete(name);
  }
  return query;
}

document.addEventListener("htmx:configRequest", ({ detail }) => {
  if (detail.elt.id === RUN) detail.path = detail.path.split("?")[0] + location.search;
});

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-view]");
  const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
  if (!link || !isPlain) return;
  event.preventDefault();
  history.pushState(null, "", `?${changed(link)}`);
  ask();
});

addEventListener("popstate", ask);
