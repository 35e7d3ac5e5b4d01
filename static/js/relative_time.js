// Ages and durations, by the server's clock: `<span class="ago" data-ago="unix ms">` and
// `<span class="duration" data-since="unix ms">` are updated every second. `data-resolution-s` is the smallest age
// that the page can know; a smaller one is shown as "< 8 s".

import { now } from "./server_clock.js";
import { timeOfDay } from "./time_format.js";

// An age means nothing on paper.
let isPrinting = false;
for (const [event, printing] of Object.entries({ beforeprint: true, afterprint: false })) {
  addEventListener(event, () => {
    isPrinting = printing;
    updateTimes();
  });
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
    const time = Number(element.dataset.ago);
    setText(element, isPrinting ? timeOfDay(time) : `${age(at - time, resolution)} ago`);
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

setInterval(updateTimes, 1000);
