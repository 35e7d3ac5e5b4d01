// Alerts for incidents: a client that crashes or gets stuck, a machine that goes down, data that become old. The list
// of incidents is part of the freshness bar (web/pages/incidents.py). An incident raises one alert, however often it
// comes and goes within a moment; none if it existed when the browser tab was opened, happened in the past that the
// mirror is still fetching, or is of a muted client.

import { end, raise, reword } from "./alert_center.js";
import { connectionFailure } from "./connection.js";
import { duration } from "./relative_time.js";
import { fetchJson } from "./requests.js";
import { now } from "./server_clock.js";
import { readJson, writeJson } from "./storage.js";

// Time that a state must last before it counts as begun or ended. Outages have lasted STALE_AFTER_S already.
const SETTLE_MS = 10_000;
const DELAYS_MS = { crashed: 0, stuck: 0, down: SETTLE_MS, outage: 0 };
const TICK_MS = 1000;
// A crash may be mirrored this much later than it happened.
const MAX_DELAY_MS = 10 * 60 * 1000;
// Hidden tabs are updated once a minute. After a longer pause the computer has slept.
const SLEEP_MS = 2 * 60 * 1000;
const CONNECTION_KEY = "data path";

const ofJob = ({ kind }) => kind === "crashed" || kind === "stuck";

const watches = new Map(); // by cluster

/** The alerts of a cluster. The Control Room has both clusters, every other page one. */
class Watch {
  constructor(cluster) {
    this.cluster = cluster;
    // { updatedAt, trustedAt, incidents by key }, kept while the tab is open
    const stored = readJson("sessionStorage", this.storageKey);
    this.state = stored?.incidents ? stored : null;
    this.isWaking = false;
  }

  get storageKey() {
    return `incidents ${this.cluster}`;
  }

  get list() {
    return document.querySelector(`.incidents[data-cluster=${this.cluster}]`);
  }

  readIncidents() {
    return [...this.list.querySelectorAll("li")].map((item) => {
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
  currentIncidents(at) {
    const incidents = this.readIncidents();
    const failure = connectionFailure();
    const staleAfterMs = Number(document.getElementById("freshness").dataset.staleAfterMs);
    // One cluster raises the failure of this browser's connection.
    const isFirst = this === watches.values().next().value;
    if (!isFirst || !failure || at - failure.since < staleAfterMs) return incidents;
    const others = incidents.filter(({ key }) => key !== CONNECTION_KEY);
    return [...others, { key: CONNECTION_KEY, kind: "outage", text: failure.text, beganAt: failure.since }];
  }

  /** Whether nothing that is known of jobs is old. */
  isTrusted() {
    return !connectionFailure() && !document.querySelector(`[data-stale~=${this.cluster}]`);
  }

  update(isContact, at) {
    if (this.isWaking || !this.list) return;
    const isFirst = this.state === null;
    this.state ??= { updatedAt: at, trustedAt: at, incidents: {} };
    const { state } = this;
    if (isContact) {
      if (at - state.updatedAt > SLEEP_MS) state.missedSince ??= state.updatedAt;
      state.updatedAt = at;
    }
    const isTrusted = this.isTrusted();
    if (state.missedSince && isTrusted) {
      this.wakeUp(at);
      return;
    }
    const present = this.currentIncidents(at);
    const raised = present.filter((incident) => this.notice(incident, at, { isFirst, isTrusted })).map((incident) => this.toAlert(incident));
    this.endGone(new Set(present.map(({ key }) => key)), at, isTrusted);
    if (isTrusted) state.trustedAt = at;
    this.save();
    raise(raised);
  }

  save() {
    writeJson("sessionStorage", this.storageKey, this.state);
  }

  alertKey(key) {
    return `${this.cluster} ${key}`;
  }

  toAlert({ key, kind, text, href, isOver }) {
    return { key: this.alertKey(key), kind, text, href, isOver };
  }

  /** Notes an incident; returns whether an alert is to be raised for it now. */
  notice(incident, at, { isFirst, isTrusted }) {
    const { state } = this;
    if (ofJob(incident) && (!isTrusted || state.missedSince)) return false;
    const known = state.incidents[incident.key];
    if (known) return this.follow(known, incident, at);
    const isPast = incident.kind === "crashed" && incident.beganAt < state.trustedAt - MAX_DELAY_MS;
    const isSilent = isFirst || incident.isMuted || isPast;
    state.incidents[incident.key] = { kind: incident.kind, text: incident.text, beganAt: incident.beganAt ?? at, seenAt: at, isSilent };
    return this.follow(state.incidents[incident.key], incident, at);
  }

  follow(known, incident, at) {
    delete known.goneAt;
    const { key, text } = incident;
    const isNew = !known.isSilent && !known.isRaised && at - known.seenAt >= DELAYS_MS[incident.kind];
    if (isNew) known.isRaised = true;
    else if (known.isRaised && known.text !== text) reword(this.alertKey(key), text);
    known.text = text;
    if (incident.isOver && known.isRaised && !known.isOver) {
      known.isOver = true;
      if (!isNew) end(this.alertKey(key));
    }
    return isNew;
  }

  endGone(present, at, isTrusted) {
    // Nothing is known of the machines behind a part of the data path that fails.
    const isHidden = (key) => present.has(CONNECTION_KEY) && key.startsWith("machine");
    for (const [key, known] of Object.entries(this.state.incidents)) {
      if (present.has(key) || (ofJob(known) && !isTrusted)) continue;
      known.goneAt ??= at;
      const isOver = ofJob(known) || !known.isRaised || isHidden(key) || at - known.goneAt >= SETTLE_MS;
      if (!isOver) continue;
      delete this.state.incidents[key];
      const isTold = known.isRaised && !ofJob(known) && !isHidden(key);
      if (known.isRaised) end(this.alertKey(key), isTold ? `over after ${duration(known.goneAt - known.beganAt)}` : "");
    }
  }

  /** Summarizes what happened while the computer slept, instead of an alert for each event. */
  async wakeUp(at) {
    this.isWaking = true;
    const { missedSince } = this.state;
    const missed = await fetchJson(`${this.list.dataset.missedUrl}&since=${missedSince}`);
    this.isWaking = false;
    if (missed === null) return; // the next update tries again
    const { text } = missed;
    for (const { key, kind, text: described, beganAt } of this.readIncidents()) {
      this.state.incidents[key] ??= { kind, text: described, beganAt: beganAt ?? at, seenAt: at, isSilent: true };
    }
    Object.assign(this.state, { missedSince: undefined, trustedAt: at });
    this.save();
    if (!text) return;
    const slept = duration(at - missedSince);
    raise([{ key: this.alertKey(`meanwhile ${missedSince}`), kind: "meanwhile", text: `While this page slept for ${slept}: ${text}` }]);
  }
}

function update(isContact) {
  const at = now();
  if (at === null) return;
  for (const { dataset } of document.querySelectorAll(".incidents")) {
    if (!watches.has(dataset.cluster)) watches.set(dataset.cluster, new Watch(dataset.cluster));
  }
  for (const watch of watches.values()) watch.update(isContact, at);
}

document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (detail.elt.id === "freshness") update(detail.xhr.status >= 200 && detail.xhr.status < 400);
});
// A page from the back and forward cache does not know what the pages after it have raised.
addEventListener("pageshow", ({ persisted }) => persisted && watches.clear());
// Incidents begin and end by the clock, too.
setInterval(() => update(false), TICK_MS);
