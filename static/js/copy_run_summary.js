// Copies the run as a text for the e-log. The server's text is about the run; the age of the data, the time of copying
// and the link are added here.

import { copy } from "./clipboard.js";
import { duration } from "./relative_time.js";
import { now } from "./server_clock.js";
import { EXPERIMENT, fullTime } from "./time_format.js";

function summary() {
  const elog = document.getElementById("elog");
  const at = now();
  const copied = at === null ? "" : ` Copied on ${fullTime(at, EXPERIMENT)}.`;
  return `${elog.textContent.trim()}\n${freshness(at)}${copied}\n${new URL(elog.dataset.url, location.href)}\n`;
}

// A sentence about the age of the data. What failed is in the banners, the nearest cause first.
function freshness(at) {
  if (document.querySelector("[data-final]")) return "The states of its clients do not change any more.";
  const banner = document.querySelector("#connection:not([hidden]) p, [data-stale] p");
  if (banner) return `WARNING: the data were old. ${banner.textContent.trim().replace(/\s+/g, " ")}`;
  const ages = [...document.querySelectorAll(".machine-freshness .ago")].map(({ dataset }) =>
    Math.max(at - Number(dataset.ago), 1000 * Number(dataset.resolutionS ?? 0)),
  );
  if (at === null || !ages.length) return "The age of the data was unknown.";
  return `The data were at most ${duration(Math.max(...ages))} old.`;
}

// Shows the text for the reader to copy.
function offer(text) {
  const dialog = document.getElementById("copy-dialog");
  const field = dialog.querySelector("textarea");
  field.value = text;
  // If nothing had the focus before, WebKit leaves it in the closed dialog, where keys are no shortcuts.
  dialog.addEventListener("close", () => field.blur(), { once: true });
  dialog.showModal();
  field.select();
}

document.addEventListener("click", async ({ target }) => {
  const button = target.closest("#copy-summary");
  if (!button) return;
  const text = summary();
  if (!(await copy(text, button))) offer(text);
});
