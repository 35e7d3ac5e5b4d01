// The state of the live page is in its URL, and the run fragment is always requested for that URL.

/** The id of the run fragment. */
export const RUN = "run";

/** The parameters of the page's URL. */
export function params() {
  return new URLSearchParams(location.search);
}

/** Sets a parameter of the URL, or removes it if `value` is empty, without a new history entry. */
export function setParam(name, value) {
  const query = params();
  if (value) query.set(name, value);
  else query.delete(name);
  history.replaceState(null, "", `?${query}`);
}

/** Requests the run fragment: now, or after the request that is in progress. */
export function refresh() {
  htmx.trigger(document.getElementById(RUN), "refresh");
}

function navigate(query) {
  history.pushState(null, "", `?${query}`);
  document.body.dataset.pendingClick = "";
  refresh();
}

// A link names the parameters that it changes: the other ones in its URL may be out of date.
function linkedParams(link) {
  const query = params();
  const linked = new URLSearchParams(link.search);
  for (const name of link.dataset.params.split(" ")) {
    if (linked.has(name)) query.set(name, linked.get(name));
    else query.delete(name);
  }
  return query;
}

const jobOf = (expander) => expander.closest("[data-job]").dataset.job;
const expandedJobs = () => params().get("job")?.split(",").filter(Boolean) ?? [];

/** Whether the row of an expander is expanded, or will be by a click whose response is still to come. */
export function isExpanded(expander) {
  return expandedJobs().includes(jobOf(expander));
}

// An expander's link would undo a click on another row whose response is still to come.
function toggledParams(expander) {
  const query = params();
  const job = jobOf(expander);
  const others = expandedJobs().filter((other) => other !== job);
  const { maxExpanded } = document.getElementById(RUN).dataset;
  const jobs = isExpanded(expander) ? others : [...others, job].slice(-maxExpanded);
  if (jobs.length) query.set("job", jobs.join());
  else query.delete("job");
  return query;
}

document.addEventListener("htmx:configRequest", ({ detail }) => {
  if (detail.elt.id === RUN) detail.path = detail.path.split("?")[0] + location.search;
});

// Discard a response to a URL that the reader has left.
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (detail.elt.id !== RUN) return;
  const { search } = new URL(detail.pathInfo.finalRequestPath, location.href);
  if (search === location.search) delete document.body.dataset.pendingClick;
  else detail.shouldSwap = false;
});

/** Whether a click asks for no new tab, window or download. */
export function isPlainClick({ button, ctrlKey, metaKey, shiftKey, altKey }) {
  return button === 0 && !ctrlKey && !metaKey && !shiftKey && !altKey;
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-params]");
  if (!link || !isPlainClick(event)) return;
  event.preventDefault();
  navigate(link.matches(".expander") ? toggledParams(link) : linkedParams(link));
});

const RUN_NUMBER = /^\s*(?:run)?\s*(\d{1,9})\s*$/i;

// A run is shown in place; anything else is searched for by the server.
document.addEventListener("submit", (event) => {
  if (event.target.id !== "go-to") return;
  const field = event.target.elements.q;
  const number = RUN_NUMBER.exec(field.value)?.[1];
  if (!number) return;
  event.preventDefault();
  const query = params();
  query.set("run", number);
  query.delete("job");
  field.value = "";
  field.blur();
  navigate(query);
});

addEventListener("popstate", refresh);
