// Shows alerts: in the list behind the bell, as a toast, in the page's title and icon, to screen readers and, if
// enabled, by a sound and a browser notification.

import { announce } from "./alert_channels.js";
import { now } from "./server_clock.js";
import { readJson, storedKey, writeJson } from "./storage.js";

// Times in the list have no date.
const MAX_AGE_MS = 24 * 60 * 60 * 1000;
const MAX_ALERTS = 50;
const STORAGE_KEY = "alerts"; // shared by the pages of this browser
const TOASTS_KEY = "toasts";
// Time for which a toast is shown on a visible page, if its cause lasts, and after the end of its cause.
const TOAST_MS = 60_000;
const OVER_TOAST_MS = 10_000;
const TICK_MS = 1000;

const panel = document.getElementById("alert-panel");
const list = document.getElementById("alert-list");
const count = document.getElementById("alert-count");
const bell = document.querySelector("[popovertarget=alert-panel]");
const toastPlace = document.getElementById("toasts");
const announcer = document.getElementById("announcer");
const favicon = document.getElementById("favicon");
const normalIcon = favicon.getAttribute("href");
const normalTitle = document.title;

let alerts = load(); // newest first
// Of this tab, newest first: the key of an alert, and how long it will still be shown.
let toasts = loadToasts();
let unseen = 0; // alerts since this page was last looked at

function load() {
  const at = now() ?? Date.now();
  return storedList("localStorage", STORAGE_KEY).filter((alert) => at - alert.at < MAX_AGE_MS);
}

function loadToasts() {
  return storedList("sessionStorage", TOASTS_KEY);
}

function storedList(area, key) {
  const stored = readJson(area, key);
  return Array.isArray(stored) ? stored.filter((entry) => entry?.key) : [];
}

function save() {
  alerts.length = Math.min(alerts.length, MAX_ALERTS);
  writeJson("localStorage", STORAGE_KEY, alerts);
  render();
}

/** Raises alerts that belong together: `key`, `kind`, `text`, `href`. They are announced as one. */
export function raise(raised) {
  if (!raised.length) return;
  const keys = new Set(raised.map(({ key }) => key));
  const at = now() ?? Date.now();
  alerts = [...raised.map((alert) => ({ ...alert, at, isUnread: true })), ...load().filter(({ key }) => !keys.has(key))];
  toasts = [...raised.map(({ key, isOver }) => ({ key, leftMs: isOver ? OVER_TOAST_MS : TOAST_MS })), ...toasts.filter(({ key }) => !keys.has(key))];
  unseen += raised.length;
  save();
  const text = raised.map((alert) => alert.text).join("; ");
  announcer.textContent = text;
  announce(raised.length > 1 ? `${raised.length} alerts: ${text}` : text, raised[0].key);
}

/** Changes the text of an alert whose cause became known better. */
export function reword(key, text) {
  alerts = load().map((alert) => (alert.key === key ? { ...alert, text } : alert));
  save();
}

/** Ends an alert. Its toast is removed or, if there is something to say, shown a little longer with it. */
export function end(key, over = "") {
  alerts = load().map((alert) => (alert.key === key ? { ...alert, isOver: true, over } : alert));
  toasts = toasts.filter((toast) => toast.key !== key);
  const ended = alerts.find((alert) => alert.key === key);
  if (ended && over) {
    toasts.unshift({ key, leftMs: OVER_TOAST_MS });
    announcer.textContent = `${ended.text}: ${over}`;
  }
  save();
}

function render() {
  list.replaceChildren(...alerts.map(createEntry));
  document.getElementById("no-alerts").hidden = alerts.length > 0;
  const unread = alerts.filter(({ isUnread }) => isUnread).length;
  count.hidden = !unread;
  count.textContent = unread > 9 ? "9+" : unread;
  bell.title = unread ? `Alerts, ${unread} unread` : "Alerts";
  renderToast();
  updateTitle();
}

function createEntry({ kind, text, href, at, over, isOver, isUnread }) {
  const entry = document.getElementById("alert").content.firstElementChild.cloneNode(true);
  const shownKind = isOver && over ? "over" : kind;
  for (const icon of entry.querySelectorAll("[data-icon-of]")) if (icon.dataset.iconOf !== shownKind) icon.remove();
  entry.classList.add(`alert-${kind}`);
  // Formatted by time_zone.js.
  entry.querySelector("time").dataset.at = at;
  entry.classList.toggle("is-over", Boolean(isOver));
  entry.classList.toggle("is-unread", Boolean(isUnread));
  const link = entry.querySelector("a");
  link.textContent = text;
  if (href) link.href = href;
  entry.querySelector(".alert-over").textContent = over || "";
  return entry;
}

// One toast, however many alerts: the newest, and how many more there are.
function renderToast() {
  toasts = toasts.filter(({ key }) => alerts.some((alert) => alert.key === key));
  const newest = toasts.length && alerts.find(({ key }) => key === toasts[0].key);
  toastPlace.replaceChildren();
  if (!newest) return;
  const toast = document.getElementById("toast").content.firstElementChild.cloneNode(true);
  toast.classList.add(`alert-${newest.kind}`);
  toast.querySelector(".toast-alert").replaceChildren(...createEntry(newest).childNodes);
  const more = toast.querySelector(".toast-more");
  more.hidden = toasts.length === 1;
  more.textContent = `and ${toasts.length - 1} more`;
  toast.querySelector(".toast-close").addEventListener("click", collapse);
  toastPlace.append(toast);
}

function collapse() {
  toasts = [];
  renderToast();
}

// Only the time for which the page can be seen counts.
function expireToasts() {
  if (document.hidden || !toasts.length) return;
  const { length } = toasts;
  toasts = toasts.map(({ key, leftMs }) => ({ key, leftMs: leftMs - TICK_MS })).filter(({ leftMs }) => leftMs > 0);
  if (toasts.length < length) renderToast();
}

// The title counts the alerts since the page was last looked at; the icon says that there are any.
function updateTitle() {
  const title = document.getElementById("run")?.dataset.title ?? normalTitle;
  const counted = unseen ? `(${unseen}) ${title}` : title;
  if (document.title !== counted) document.title = counted;
  const icon = unseen ? favicon.dataset.alertIcon : normalIcon;
  if (favicon.getAttribute("href") !== icon) favicon.setAttribute("href", icon);
}

function markSeen() {
  if (document.hidden) return;
  unseen = 0;
  updateTitle();
}

function markRead({ newState }) {
  if (newState !== "open") return;
  toasts = [];
  alerts = load().map((alert) => ({ ...alert, isUnread: false }));
  save();
}

function reload() {
  alerts = load();
  render();
}

document.addEventListener("fragment", updateTitle);
document.addEventListener("visibilitychange", markSeen);
document.addEventListener("pointerdown", markSeen);
document.addEventListener("keydown", markSeen);
panel.addEventListener("toggle", markRead);
document.getElementById("clear-alerts").addEventListener("click", () => {
  alerts = [];
  save();
});
addEventListener("pagehide", () => writeJson("sessionStorage", TOASTS_KEY, toasts));
addEventListener("storage", ({ key }) => key === storedKey(STORAGE_KEY) && reload());
// A page from the back and forward cache shows what the pages after it have left.
addEventListener("pageshow", ({ persisted }) => {
  if (!persisted) return;
  toasts = loadToasts();
  reload();
});
setInterval(expireToasts, TICK_MS);
render();
