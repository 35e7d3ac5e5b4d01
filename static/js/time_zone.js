// Formats every `<time data-at="unix ms">` of the page, and switches between the two time zones. The server has
// formatted them in the experiment's; its responses are the same for all readers.

import { fullTime, otherZone, shortTime, timeOfDay } from "./time_format.js";
import { duration } from "./relative_time.js";
import { now } from "./server_clock.js";

const FORMATS = { clock: timeOfDay, short: shortTime, full: fullTime };
const SELECTOR = "time[data-at]";
const MINUTE_MS = 60 * 1000;

function show(time) {
  const text = (FORMATS[time.dataset.form] ?? timeOfDay)(Number(time.dataset.at));
  if (time.textContent !== text) time.textContent = text;
}

function showAll(root = document) {
  for (const time of root.querySelectorAll(SELECTOR)) show(time);
}

// Formats the times that scripts and updates put into the page.
function showChanged(mutations) {
  for (const { target, addedNodes } of mutations) {
    const holder = target.nodeType === Node.ELEMENT_NODE ? target : target.parentElement;
    const changed = holder?.closest(SELECTOR);
    if (changed) show(changed);
    for (const node of addedNodes) {
      if (node.nodeType !== Node.ELEMENT_NODE) continue;
      if (node.matches(SELECTOR)) show(node);
      showAll(node);
    }
  }
}

function showTooltip({ target }) {
  const time = target.closest?.(SELECTOR);
  if (!time) return;
  const at = Number(time.dataset.at);
  const age = now() === null ? "" : duration(Math.abs(now() - at));
  const relative = age && (now() < at ? ` · in ${age}` : ` · ${age} ago`);
  time.title = `${fullTime(at)} · ${fullTime(at, otherZone())}${relative}`;
}

new MutationObserver(showChanged).observe(document.body, {
  attributeFilter: ["data-at"],
  characterData: true,
  childList: true,
  subtree: true,
});
addEventListener("zone", () => showAll());
// The tooltip of a time that was pointed at before its age was known.
addEventListener("clock", () => {
  const pointedAt = document.querySelector(`${SELECTOR}:hover`);
  if (pointedAt) showTooltip({ target: pointedAt });
});
document.addEventListener("pointerover", showTooltip);
document.addEventListener("focusin", showTooltip);
addEventListener("beforeprint", () => {
  const printedAt = document.querySelector("[data-printed-at]");
  if (printedAt) printedAt.textContent = `, printed ${fullTime(now() ?? Date.now())}`;
});
// A day ends.
setInterval(() => showAll(), MINUTE_MS);
showAll();
