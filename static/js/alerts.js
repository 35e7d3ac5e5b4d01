// Tells what went wrong while the reader looked away: a job that crashed or got stuck, a machine that went
// down, data that got old. One alert an event: none for what was so when the page was opened, none for what a
// mirror that catches up finds in the past, none of a client that an expert has muted.

import { announce, forget } from "./alert_center.js";
import { now } from "./server_clock.js";

// An event is news for so long; what is older comes from a mirror, or a page, that was away.
const NEWS_MS = 10 * 60 * 1000;
const SENTENCES = { crashed: "crashed", stuck: "is stuck" };

let jobs = null; // the states of the jobs when they were last looked at, by their ids; null: not yet
let seenRun = null;
let machines = null;
let links = null;

function lookAtJobs() {
  const { cluster, run } = document.getElementById("run").dataset;
  const isOther = seenRun !== null && (seenRun.cluster !== cluster || seenRun.run !== run);
  const isNext = isOther && seenRun.cluster === cluster && Number(run) > Number(seenRun.run) && isFollowing();
  const before = isOther && !isNext ? null : jobs;
  seenRun = { cluster, run };
  jobs = new Map();
  for (const { dataset } of document.querySelectorAll("tbody[data-job]")) {
    jobs.set(dataset.job, dataset.state);
    const isNew = before && before.get(dataset.job) !== dataset.state && dataset.state in SENTENCES;
    if (isNew && isNews(dataset)) tellOfJob(dataset, run);
  }
}

const isFollowing = () => document.getElementById("follow")?.getAttribute("aria-checked") === "true";

// A stuck job is silent; that it is so is news whenever it was last heard of.
function isNews({ state, lastReport, muted }) {
  if (muted !== undefined) return false;
  if (document.querySelector("[data-outage], [data-catching-up]")) return false;
  return state === "stuck" || now() - Number(lastReport) < NEWS_MS;
}

function tellOfJob({ job, client, state }, run) {
  announce({
    key: `${job} ${state}`,
    kind: state,
    text: `${client} ${SENTENCES[state]} in run ${run}`,
    href: document.getElementById(`open-${job}`)?.getAttribute("href"),
  });
}

function lookAtLinks() {
  const freshness = document.getElementById("freshness");
  const down = new Map([...freshness.querySelectorAll("[data-down]")].map(({ dataset }) => [dataset.down, dataset.since]));
  const broken = new Set([...freshness.querySelectorAll("[data-outage] [data-message]")].map((link) => link.textContent.trim()));
  for (const [machine, since] of down) {
    if (machines && !machines.has(machine)) {
      announce({ key: `${machine} down ${since}`, kind: "down", text: `${machine} is down` });
    }
  }
  for (const sentence of broken) {
    const key = `old ${sentence}`;
    if (links && !links.has(sentence)) announce({ key, kind: "stale", text: sentence });
  }
  // A link that works again may break again: that is another event.
  for (const sentence of links ?? []) if (!broken.has(sentence)) forget(`old ${sentence}`);
  machines = down;
  links = broken;
}

document.addEventListener("part", ({ detail: part }) => {
  if (part === "run") lookAtJobs();
  if (part === "freshness") lookAtLinks();
});
lookAtJobs();
