// Alerts for incidents: a client that crashes or gets stuck, a machine that goes down, data that become old. The list
// of incidents is part of the freshness bar (web/pages/incidents.py). An incident raises one alert, however often it
// comes and goes within a moment; none if it existed when the browser tab was opened, happened in the past that the
// mirror is still fetching, or is of a muted client.

import { end, raise, reword } from "./alert_center.js";
import { connectionFailure } from "./connection.js";
import { duration } from "./relative_time.js";
import { now } from "./server_clock.js";

// How long a state must last before it is believed to have begun or ended. Outages have lasted STALE_AFTER_S already.
const SETTLE_MS = 10_000;
const DELAYS_MS = { crashed: 0, stuck: 0, down: SETTLE_MS, outage: 0 };
const TICK_MS = 1000;
// A crash may be mirrored this much later than it happened.
const MAX_DELAY_MS = 10 * 60 * 1000;
// Hidden tabs are updated once a minute. After a longer pause the computer has slept.
const SLEEP_MS = 2 * 60 * 1000;
const CONNECTION_KEY = "data path";

const ofJob = ({ kind }) => kind === "crashed" || kind === "stuck";

let cluster = null;
let state = null; // { updatedAt, trustedAt, incidents by key }, kept while the tab is open
let isWaking = false;

const storageKey = () => `incidents ${cluster}`;

function load() {
  const list = document.getElementById("incidents");
  if (!list || list.dataset.cluster === cluster) return;
  ({ cluster } = list.dataset);
  state = JSON.parse(sessionStorage.getItem(storageKey()) ?? "null");
}

function readIncidents() {
  return [...document.querySelectorAll("#incidents li")].map((item) => {
    const { key, kind, beganAt, over, muted } = item.dataset;
    const link = item.querySelector("a");
    return {
      key,
      kind,
      text: link.textContent,
      href: link.href,
      beganAt: beganAt ? Number(beganAt) : null,
      isOver: over !== undefined,
      isMuted: muted !== undefined,
    };
  });
}

/** The incidents that are known to exist; while the server can't be reached, those of its last response. */
function currentIncidents(at) {
  const incidents = readIncidents();
  const failure = connectionFailure();
  const staleAfterMs = Number(document.getElementById("freshness").dataset.staleAfterMs);
  if (!failure || at - failure.since < staleAfterMs) return incidents;
  const others = incidents.filter(({ key }) => key !== CONNECTION_KEY);
  return [...others, { key: CONNECTION_KEY, kind: "outage", text: failure.text, beganAt: failure.since }];
}

function update(isContact) {
  load();
  const at = now();
  if (!cluster || at === null || isWaking) return;
  const isFirst = state === null;
  state ??= { updatedAt: at, trustedAt: at, incidents: {} };
  if (isContact) {
    if (at - state.updatedAt > SLEEP_MS) state.missedSince ??= state.updatedAt;
    state.updatedAt = at;
  }
  // Otherwise, what is known of jobs is old or incomplete.
  const isTrusted = !connectionFailure() && !document.querySelector("[data-stale], [data-catching-up]");
  if (state.missedSince && isTrusted) {
    wakeUp(at);
    return;
  }
  const present = currentIncidents(at);
  const raised = present.filter((incident) => notice(incident, at, { isFirst, isTrusted })).map(toAlert);
  endGone(new Set(present.map(({ key }) => key)), at, isTrusted);
  if (isTrusted) state.trustedAt = at;
  save();
  raise(raised);
}

const save = () => sessionStorage.setItem(storageKey(), JSON.stringify(state));

const toAlert = ({ key, kind, text, href, isOver }) => ({ key: `${cluster} ${key}`, kind, text, href, isOver });

/** Notes an incident; returns whether an alert is to be raised for it now. */
function notice(incident, at, { isFirst, isTrusted }) {
  if (ofJob(incident) && (!isTrusted || state.missedSince)) return false;
  const known = state.incidents[incident.key];
  if (known) return follow(known, incident, at);
  const isPast = incident.kind === "crashed" && incident.beganAt < state.trustedAt - MAX_DELAY_MS;
  const isSilent = isFirst || incident.isMuted || isPast;
  state.incidents[incident.key] = { kind: incident.kind, text: incident.text, beganAt: incident.beganAt ?? at, seenAt: at, isSilent };
  return follow(state.incidents[incident.key], incident, at);
}

function follow(known, incident, at) {
  delete known.goneAt;
  const { key, text } = incident;
  const isNew = !known.isSilent && !known.isRaised && at - known.seenAt >= DELAYS_MS[incident.kind];
  if (isNew) known.isRaised = true;
  else if (known.isRaised && known.text !== text) reword(`${cluster} ${key}`, text);
  known.text = text;
  if (incident.isOver && known.isRaised && !known.isOver) {
    known.isOver = true;
    if (!isNew) end(`${cluster} ${key}`);
  }
  return isNew;
}

function endGone(present, at, isTrusted) {
  // Nothing is known of the machines behind a part of the data path that fails.
  const isHidden = (key) => present.has(CONNECTION_KEY) && key.startsWith("machine");
  for (const [key, known] of Object.entries(state.incidents)) {
    if (present.has(key) || (ofJob(known) && !isTrusted)) continue;
    known.goneAt ??= at;
    const isOver = ofJob(known) || !known.isRaised || isHidden(key) || at - known.goneAt >= SETTLE_MS;
    if (!isOver) continue;
    delete state.incidents[key];
    const isTold = known.isRaised && !ofJob(known) && !isHidden(key);
    if (known.isRaised) end(`${cluster} ${key}`, isTold ? `over after ${duration(known.goneAt - known.beganAt)}` : "");
  }
}

/** Summarizes what happened while the computer slept, instead of an alert for each event. */
async function wakeUp(at) {
  isWaking = true;
  const { missedSince } = state;
  const response = await fetch(`${document.getElementById("incidents").dataset.missedUrl}&since=${missedSince}`).catch(() => null);
  isWaking = false;
  if (!response?.ok) return; // the next update tries again
  const { text } = await response.json();
  for (const { key, kind, text: described, beganAt } of readIncidents()) {
    state.incidents[key] ??= { kind, text: described, beganAt: beganAt ?? at, seenAt: at, isSilent: true };
  }
  Object.assign(state, { missedSince: undefined, trustedAt: at });
  save();
  if (!text) return;
  const slept = duration(at - missedSince);
  raise([{ key: `${cluster} meanwhile ${missedSince}`, kind: "meanwhile", text: `While this page slept for ${slept}: ${text}` }]);
}

document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (detail.elt.id === "freshness") update(detail.xhr.status >= 200 && detail.xhr.status < 400);
});
// Incidents begin and end by the clock, too.
setInterval(() => update(false), TICK_MS);
