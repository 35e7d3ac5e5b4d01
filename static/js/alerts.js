// Alerts: a client that crashes or gets stuck, a machine that goes down, data that become old. One alert per event;
// none for what was so when the page was opened, for the past that a mirror is still fetching, or for a muted client.

import { forget, raise } from "./alert_center.js";
import { now } from "./server_clock.js";

// An older event was missed while the mirror or this page was away.
const MAX_EVENT_AGE_MS = 10 * 60 * 1000;

let crashes = null; // ids of the crashed jobs at the last update; null before the first
let stuck = null; // and of the stuck ones
let lastRun = null;
let downSince = null; // by machine
let outages = null;

function checkJobs() {
  const { cluster, run } = document.getElementById("run").dataset;
  const hasChanged = lastRun !== null && (lastRun.cluster !== cluster || lastRun.run !== run);
  const isNextRun = hasChanged && lastRun.cluster === cluster && Number(run) > Number(lastRun.run) && followsNewest();
  const isFirst = crashes === null || (hasChanged && !isNextRun);
  const before = { crashes, stuck };
  lastRun = { cluster, run };
  crashes = new Set();
  stuck = new Set();
  for (const { dataset } of document.querySelectorAll("tbody[data-job]")) {
    // A crashed job may have been restarted since, so that it is not the newest of its client.
    for (const [id, reportedAt] of dataset.crashes.split(" ").filter(Boolean).map((crash) => crash.split("@"))) {
      crashes.add(id);
      const isRecent = now() - Number(reportedAt) < MAX_EVENT_AGE_MS;
      if (!isFirst && !before.crashes.has(id) && isRecent) raiseForJob(dataset, id, "crashed", run);
    }
    if (dataset.state !== "stuck") continue;
    stuck.add(dataset.job);
    if (!isFirst && !before.stuck.has(dataset.job)) raiseForJob(dataset, dataset.job, "stuck", run);
  }
}

const followsNewest = () => document.getElementById("follow")?.getAttribute("aria-checked") === "true";

function raiseForJob({ client, job: newest, muted }, job, kind, run) {
  if (muted !== undefined || document.querySelector("[data-outage], [data-catching-up]")) return;
  raise({
    key: `${job} ${kind}`,
    kind,
    text: `${client} ${kind === "stuck" ? "is stuck" : "crashed"} in run ${run}`,
    href: document.getElementById(`expand-${newest}`)?.getAttribute("href"),
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
