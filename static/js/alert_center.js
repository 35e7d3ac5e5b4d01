// Shows alerts: as a toast, in the page's title and icon, in the list of recent alerts and, if enabled, by a sound
// and a browser notification.

import { notify, playSound } from "./alert_channels.js";
import { now } from "./server_clock.js";

const MAX_ALERTS = 30;
const MAX_TOASTS = 4;
const STORAGE_KEY = "alerts";
const ICONS = { crashed: "x-octagon-fill", stuck: "hourglass-split", down: "x-octagon-fill", outage: "exclamation-triangle-fill" };

const toasts = document.getElementById("toasts");
const list = document.getElementById("alert-list");
const favicon = document.getElementById("favicon");
const normalIcon = favicon.getAttribute("href");

const alerts = JSON.parse(sessionStorage.getItem(STORAGE_KEY) ?? "[]");
let unseen = 0;

/** Shows an alert, unless one with the same `key` was shown before. */
export function raise({ key, kind, text, href }) {
  if (alerts.some((alert) => alert.key === key)) return;
  alerts.unshift({ key, kind, text, href, at: now() });
  alerts.length = Math.min(alerts.length, MAX_ALERTS);
  save();
  unseen += 1;
  showToast(alerts[0]);
  updateTitle();
  playSound();
  notify(text, key);
}

/** Lets an alert be raised again. */
export function forget(key) {
  for (const alert of alerts) if (alert.key === key) alert.key = `${key} ${alert.at}`;
  save();
}

function save() {
  sessionStorage.setItem(STORAGE_KEY, JSON.stringify(alerts));
  list.replaceChildren(...alerts.map(createEntry));
}

function createEntry({ kind, text, href, at }) {
  const entry = document.getElementById("alert").content.firstElementChild.cloneNode(true);
  const use = entry.querySelector("use");
  use.setAttribute("href", `${use.getAttribute("href").split("#")[0]}#${ICONS[kind]}`);
  entry.classList.add(`alert-${kind}`);
  // Formatted by time_zone.js.
  entry.querySelector("time").dataset.at = at;
  const link = entry.querySelector("a");
  link.textContent = text;
  if (href) link.href = href;
  return entry;
}

function showToast(alert) {
  const toast = createEntry(alert);
  toast.classList.add("alert-toast", "panel");
  const close = document.getElementById("toast-close").content.firstElementChild.cloneNode(true);
  close.addEventListener("click", () => toast.remove());
  toast.append(close);
  toasts.prepend(toast);
  while (toasts.children.length > MAX_TOASTS) toasts.lastElementChild.remove();
}

// The title counts the alerts since the page was last looked at; the icon says that there are any.
function updateTitle() {
  const { title } = document.getElementById("run").dataset;
  document.title = unseen ? `(${unseen}) ${title}` : title;
  favicon.setAttribute("href", unseen ? favicon.dataset.alertIcon : normalIcon);
}

function markSeen() {
  if (document.hidden) return;
  unseen = 0;
  updateTitle();
}

document.addEventListener("fragment", updateTitle);
document.addEventListener("visibilitychange", markSeen);
document.addEventListener("pointerdown", markSeen);
document.addEventListener("keydown", markSeen);
list.replaceChildren(...alerts.map(createEntry));
