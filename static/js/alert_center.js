// Alerts as the reader sees and hears them: a toast, the page's title and icon, the list of the last ones,
// and, if they were switched on, a sound and a notification.

import { timeOfDay } from "./relative_time.js";
import { notify, sound } from "./alert_channels.js";
import { now } from "./server_clock.js";

const MOST_KEPT = 30;
const MOST_TOASTS = 4;
const STORE = "alerts";
const ICONS = { crashed: "x-octagon-fill", stuck: "hourglass-split", down: "x-octagon-fill", stale: "exclamation-triangle-fill" };

const toasts = document.getElementById("toasts");
const list = document.getElementById("alert-list");
const icon = document.getElementById("favicon");
const calm = icon.getAttribute("href");

const kept = JSON.parse(sessionStorage.getItem(STORE) ?? "[]");
let unseen = 0;

/** Tells of an event, once: `key` is what it is known by. */
export function announce({ key, kind, text, href }) {
  if (kept.some((alert) => alert.key === key)) return;
  kept.unshift({ key, kind, text, href, at: now() });
  kept.length = Math.min(kept.length, MOST_KEPT);
  keep();
  unseen += 1;
  showToast(kept[0]);
  showTitle();
  sound();
  notify(text, key);
}

/** Makes an event tellable again. */
export function forget(key) {
  for (const alert of kept) if (alert.key === key) alert.key = `${key} ${alert.at}`;
  keep();
}

function keep() {
  sessionStorage.setItem(STORE, JSON.stringify(kept));
  list.replaceChildren(...kept.map(entry));
}

function entry({ kind, text, href, at }) {
  const item = document.getElementById("alert").content.firstElementChild.cloneNode(true);
  const use = item.querySelector("use");
  use.setAttribute("href", `${use.getAttribute("href").split("#")[0]}#${ICONS[kind]}`);
  item.classList.add(`alert-${kind}`);
  item.querySelector("time").textContent = timeOfDay(at);
  const words = item.querySelector("a");
  words.textContent = text;
  if (href) words.href = href;
  return item;
}

function showToast(alert) {
  const toast = entry(alert);
  toast.classList.add("alert-toast", "panel");
  const close = document.getElementById("toast-close").content.firstElementChild.cloneNode(true);
  close.addEventListener("click", () => toast.remove());
  toast.append(close);
  toasts.prepend(toast);
  while (toasts.children.length > MOST_TOASTS) toasts.lastElementChild.remove();
}

// The title counts what came while nobody looked; the icon says that something is wrong.
function showTitle() {
  const { title } = document.getElementById("run").dataset;
  document.title = unseen ? `(${unseen}) ${title}` : title;
  icon.setAttribute("href", unseen ? icon.dataset.alertIcon : calm);
}

function see() {
  if (document.hidden) return;
  unseen = 0;
  showTitle();
}

document.addEventListener("part", showTitle);
document.addEventListener("visibilitychange", see);
document.addEventListener("pointerdown", see);
document.addEventListener("keydown", see);
list.replaceChildren(...kept.map(entry));
