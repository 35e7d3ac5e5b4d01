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

/** Asks for the run's part now, or as soon as the answer that is under way has come. */
export function ask() {
  htmx.trigger(document.getElementById(RUN), "refresh");
}

function go(query) {
  history.pushState(null, "", `?${query}`);
  ask();
}

// A link says what it changes. The rest of its address may be older than what the reader chose since.
function changed(link) {
  const query = parameters();
  const asked = new URLSearchParams(link.search);
  for (const name of link.dataset.params.split(" ")) {
    if (asked.has(name)) query.set(name, asked.get(name));
    else query.delete(name);
  }
  return query;
}

document.addEventListener("htmx:configRequest", ({ detail }) => {
  if (detail.elt.id === RUN) detail.path = detail.path.split("?")[0] + location.search;
});

// An answer that was asked for before the reader went on is of another view.
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (detail.elt.id !== RUN) return;
  const { search } = new URL(detail.pathInfo.finalRequestPath, location.href);
  if (search !== location.search) detail.shouldSwap = false;
});

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-params]");
  const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
  if (!link || !isPlain) return;
  event.preventDefault();
  go(changed(link));
});

document.addEventListener("submit", (event) => {
  if (event.target.id !== "go-to") return;
  event.preventDefault();
  const { run } = event.target.elements;
  const query = parameters();
  query.set("run", run.value);
  query.delete("job");
  run.value = "";
  run.blur();
  go(query);
});

addEventListener("popstate", ask);
