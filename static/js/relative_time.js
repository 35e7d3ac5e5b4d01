// Ages and durations, by the server's clock: `<span class="ago" data-ago="unix ms">` and
// `<span class="duration" data-since="unix ms">` are updated every second. `data-resolution-s` is the smallest age
// that the page can know; a smaller one is shown as "< 8 s". A `<time>` shows UTC and age as its tooltip.

import { now } from "./server_clock.js";

const ZONE = "Europe/Zurich";
const clock = new Intl.DateTimeFormat("en-GB", { timeZone: ZONE, timeStyle: "medium", hourCycle: "h23" });
const dateAndTime = new Intl.DateTimeFormat("en-GB", {
  timeZone: ZONE,
  timeZoneName: "short",
  ...{ day: "2-digit", month: "short", year: "numeric" },
  ...{ hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" },
});

/** The time of day in the time zone of the experiment. */
export function timeOfDay(ms) {
  return clock.format(ms);
}

/** Date and time with the zone, e.g. 15 Sep 2022 13:05:12 CEST. */
export function dateTime(ms) {
  // British English abbreviates September as Sept, unlike the server.
  return dateAndTime.format(ms).replace(",", "").replace("Sept", "Sep");
}

/** A duration in its two largest units; seconds only below an hour. */
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

/** Updates all ages and durations on the page. */
export function updateTimes() {
  const at = now();
  if (at === null) return;
  for (const element of document.getElementsByClassName("ago")) {
    const resolution = 1000 * Number(element.dataset.resolutionS ?? 0);
    setText(element, `${age(at - Number(element.dataset.ago), resolution)} ago`);
  }
  for (const element of document.getElementsByClassName("duration")) {
    setText(element, duration(at - Number(element.dataset.since)));
  }
}

function age(ms, resolution) {
  return ms < resolution ? `< ${duration(resolution)}` : duration(ms);
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function updateTooltip(event) {
  const time = event.target.closest?.("time[data-at]");
  if (!time) return;
  const at = Number(time.dataset.at);
  const utc = new Date(at).toISOString().slice(0, 19).replace("T", " ");
  const ago = now() === null ? "" : ` · ${duration(now() - at)} ago`;
  time.title = `${utc} UTC${ago}`;
}

setInterval(updateTimes, 1000);
document.addEventListener("pointerover", updateTooltip);
document.addEventListener("focusin", updateTooltip);
