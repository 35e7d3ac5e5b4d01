// How long ago things were: `<span data-ago="unix ms">` is kept up to date, and a `<time>` says it on hover.
// What a page is told with a delay says so (`data-resolution-s="s"`): any age below that is "less than" it.

import { now } from "./server_clock.js";

const ZONE = "Europe/Zurich";
const clock = new Intl.DateTimeFormat("en-GB", { timeZone: ZONE, timeStyle: "medium", hourCycle: "h23" });

/** A time of day at the experiment. */
export function timeOfDay(ms) {
  return clock.format(ms);
}

/** A length of time in its two largest units; seconds only below an hour. */
export function duration(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  if (days) return `${days} d ${hours % 24} h`;
  if (hours) return `${hours} h ${minutes % 60} min`;
  if (minutes) return `${minutes} min ${seconds % 60} s`;
  return `${seconds} s`;
}

/** Fills in every age on the page. */
export function fill() {
  const at = now();
  if (at === null) return;
  for (const element of document.getElementsByClassName("ago")) {
    write(element, `${age(at - Number(element.dataset.ago), 1000 * Number(element.dataset.resolutionS ?? 0))} ago`);
  }
  for (const element of document.getElementsByClassName("duration")) {
    write(element, duration(at - Number(element.dataset.since)));
  }
}

// What is told within so many ms may be younger than it seems.
function age(ms, toldWithin) {
  return ms < toldWithin ? `< ${duration(toldWithin)}` : duration(ms);
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function explain(event) {
  const time = event.target.closest?.("time[data-at]");
  if (!time) return;
  const at = Number(time.dataset.at);
  const utc = new Date(at).toISOString().slice(0, 19).replace("T", " ");
  const ago = now() === null ? "" : ` · ${duration(now() - at)} ago`;
  time.title = `${utc} UTC${ago}`;
}

setInterval(fill, 1000);
document.addEventListener("pointerover", explain);
document.addEventListener("focusin", explain);
