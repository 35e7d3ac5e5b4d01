// Sound and browser notifications for alerts: off by default, the choice is stored in the browser. Each is tried by
// itself; one that does not work is reported next to its switch.

import { readText, writeText } from "./storage.js";

const TONE_S = 0.35;
const TONES_HZ = [880, 660];
const CLICK_ONCE = "Click once to allow sound.";
const GESTURES = ["pointerdown", "keydown"];

const panel = document.getElementById("alert-panel");
const hint = document.getElementById("sound-hint");
const channels = { sound: playSound, notification: notify };
const enable = { sound: unlockSound, notification: requestPermission };

let audio = null;

const isEnabled = (channel) => readText("localStorage", channel) === "on";

/** Announces an alert through the enabled channels. The same `key` in several open pages makes one notification. */
export function announce(text, key) {
  for (const channel of Object.keys(channels)) if (isEnabled(channel)) attempt(channel, text, key);
}

async function attempt(channel, ...parameters) {
  report(channel, "");
  try {
    await channels[channel](...parameters);
  } catch (error) {
    report(channel, error.message);
  }
}

function report(channel, problem) {
  document.getElementById(`${channel}-problem`).textContent = problem;
}

/** Plays two falling tones. */
async function playSound() {
  await unlockSound();
  TONES_HZ.forEach((frequency, n) => {
    const tone = audio.createOscillator();
    const volume = audio.createGain();
    const at = audio.currentTime + n * TONE_S;
    tone.frequency.value = frequency;
    volume.gain.setValueAtTime(0.2, at);
    volume.gain.exponentialRampToValueAtTime(0.001, at + TONE_S);
    tone.connect(volume).connect(audio.destination);
    tone.start(at);
    tone.stop(at + TONE_S);
  });
}

// A page that was loaded has no leave to play sound until the reader has used it: its audio context is suspended,
// and `resume` stays pending until then.
async function unlockSound() {
  if (!("AudioContext" in window)) throw new Error("This browser cannot play sounds.");
  audio ??= new AudioContext();
  if (audio.state === "running") return;
  audio.resume().then(hideHint, () => {});
  if (!navigator.userActivation?.hasBeenActive) {
    hint.hidden = false;
    throw new Error(CLICK_ONCE);
  }
  await audio.resume();
}

function hideHint() {
  hint.hidden = true;
  report("sound", "");
}

function resumeAtGesture() {
  if (isEnabled("sound") && audio?.state !== "running") unlockSound().then(hideHint, ({ message }) => report("sound", message));
}

/** Shows a browser notification: by the page itself or, where that is not possible, by a service worker. */
async function notify(text, key) {
  await requestPermission();
  try {
    const notification = new Notification(text, { tag: key });
    notification.addEventListener("click", () => window.focus());
  } catch (error) {
    // Chromium on Android has the constructor, but it always throws a TypeError.
    if (!(error instanceof TypeError)) throw error;
    await notifyByWorker(text, key);
  }
}

async function notifyByWorker(text, key) {
  const unsupported = new Error("This browser cannot show notifications from this page.");
  const registration = await navigator.serviceWorker?.register(panel.dataset.worker).catch(() => null);
  if (!registration?.showNotification) throw unsupported;
  await isActive(registration);
  removeOthers(registration);
  await registration.showNotification(text, { tag: key, data: location.href });
}

// The workers of earlier versions of the mirror, whose addresses differ.
async function removeOthers(current) {
  for (const registration of await navigator.serviceWorker.getRegistrations()) {
    if (registration.scope !== current.scope) registration.unregister();
  }
}

/** Resolves once a worker has been activated, which it has to be to show a notification. */
function isActive({ installing, waiting, active }) {
  const worker = installing ?? waiting ?? active;
  return new Promise((resolve) => {
    const check = () => worker.state === "activated" && resolve();
    worker.addEventListener("statechange", check);
    check();
  });
}

async function requestPermission() {
  // Safari on an iPhone has notifications only for a page on the home screen, and no browser on plain HTTP.
  if (!("Notification" in window)) {
    throw new Error("This browser has no notifications for this page. On an iPhone, add the page to the home screen first.");
  }
  if (!window.isSecureContext) throw new Error("Notifications need a page that is loaded over HTTPS.");
  if (Notification.permission === "granted") return;
  if ((await Notification.requestPermission()) !== "granted") {
    throw new Error("The browser does not allow notifications from this page. Check its settings for this site.");
  }
}

async function toggle({ target: checkbox }) {
  const { channel } = checkbox.dataset;
  report(channel, "");
  if (!checkbox.checked) {
    writeText("localStorage", channel, null);
    if (channel === "sound") hint.hidden = true;
    return;
  }
  try {
    await enable[channel]();
    writeText("localStorage", channel, "on");
  } catch ({ message }) {
    checkbox.checked = false;
    report(channel, message);
    return;
  }
  if (channel === "sound") attempt("sound");
}

function showChoices() {
  for (const checkbox of document.querySelectorAll("[data-channel]")) {
    checkbox.checked = isEnabled(checkbox.dataset.channel);
  }
}

for (const checkbox of document.querySelectorAll("[data-channel]")) checkbox.addEventListener("change", toggle);
for (const button of document.querySelectorAll("[data-test]")) {
  button.addEventListener("click", () => attempt(button.dataset.test, "Test of the alerts", "test"));
}
for (const gesture of GESTURES) document.addEventListener(gesture, resumeAtGesture);
// Pages that are restored from the back and forward cache, and other tabs.
addEventListener("pageshow", showChoices);
addEventListener("storage", showChoices);
showChoices();
if (isEnabled("sound")) unlockSound().catch(({ message }) => report("sound", message));
