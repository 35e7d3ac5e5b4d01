// Alerts: a client that crashes or gets stuck, a machine that goes down, data that become old. One alert per event;
// none for what was so when the page was opened, for the past that a mirror is still fetching, or for a muted client.

import { forget, raise } from "./alert_center.js";
import { now } from "./server_clock.js";

// An older event was missed while the mirror or this page was away.
const MAX_EVENT_AGE_MS = 10 * 60 * 1000;
const EVENTS = { crashed: "crashed", stuck: "is stuck" };

let states = null; // of the jobs at the last update, by job id; null before the first
let lastRun = null;
let downSince = null; // by machine
let outages = null;

function checkJobs() {
  const { cluster, run } = document.getElementById("run").dataset;
  const hasChanged = lastRun !== null && (lastRun.cluster !== cluster || lastRun.run !== run);
  const isNextRun = hasChanged && lastRun.cluster === cluster && Number(run) > Number(lastRun.run) && followsNewest();
  const before = hasChanged && !isNextRun ? null : states;
  lastRun = { cluster, run };
  states = new Map();
  for (const { dataset } of document.querySelectorAll("tbody[data-job]")) {
    states.set(dataset.job, dataset.state);
    const isNew = before && before.get(dataset.job) !== dataset.state && dataset.state in EVENTS;
    if (isNew && isRecent(dataset)) raiseForJob(dataset, run);
  }
}

const followsNewest = () => document.getElementById("follow")?.getAttribute("aria-checked") === "true";

// A stuck job does not report, so the age of its last report is no criterion.
function isRecent({ state, lastReport, muted }) {
  if (muted !== undefined) return false;
  if (document.querySelector("[data-outage], [data-catching-up]")) return false;
  return state === "stuck" || now() - Number(lastReport) < MAX_EVENT_AGE_MS;
}

function raiseForJob({ job, client, state }, run) {
  raise({
    key: `${job} ${state}`,
    kind: state,
    text: `${client} ${EVENTS[state]} in run ${run}`,
    href: document.getElementById(`expand-${job}`)?.getAttribute("href"),
  });
}

function checkFreshness() {
  const freshness = document.getElementById("freshness");
  const down = new Map([...freshness.querySelectorAll("[data-down]")].map(({ dataset }) => [dataset.down, dataset.since]));
  const current = new Set([...freshness.querySelectorAll("[data-outage] [data-message]")].map((element) => element.textContent.trim()));
  for (const [machine, since] of down) {
    if (downSince && !downSince.has(machine)) {
      raise({ key: `${machine} down ${since}`, kind: "down", text: `${machine} is down` });
    }
  }
  for (const message of current) {
    if (outages && !outages.has(message)) raise({ key: `outage ${message}`, kind: "outage", text: message });
  }
  // The same outage after a recovery is a new event.
  for (const message of outages ?? []) if (!current.has(message)) forget(`outage ${message}`);
  downSince = down;
  outages = current;
}

document.addEventListener("fragment", ({ detail: id }) => {
  if (id === "run") checkJobs();
  if (id === "freshness") checkFreshness();
});
checkJobs();
