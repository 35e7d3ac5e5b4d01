// Sound and browser notifications for alerts: off by default, the choice is stored in the browser.

const TONE_S = 0.35;
const TONES_HZ = [880, 660];

let audio = null;

const isEnabled = (channel) => localStorage.getItem(channel) === "on";

/** Plays two falling tones, if sound is enabled. */
export function playSound() {
  if (isEnabled("sound")) play();
}

function play() {
  // Browsers keep a page silent until the reader has interacted with it.
  audio ??= new AudioContext();
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

/** Shows a browser notification, if enabled. The same `key` in several open pages makes one notification. */
export function notify(text, key) {
  if (!isEnabled("notification") || Notification.permission !== "granted") return;
  const notification = new Notification(text, { tag: key });
  notification.addEventListener("click", () => window.focus());
}

async function toggle({ target: checkbox }) {
  const { channel } = checkbox.dataset;
  const message = document.getElementById("alert-permission");
  message.textContent = "";
  if (channel === "notification" && checkbox.checked && (await Notification.requestPermission()) !== "granted") {
    checkbox.checked = false;
    message.textContent = "The browser does not allow notifications from this page. Check its settings for this site.";
  }
  if (checkbox.checked) localStorage.setItem(channel, "on");
  else localStorage.removeItem(channel);
  if (channel === "sound" && checkbox.checked) play();
}

for (const checkbox of document.querySelectorAll("[data-channel]")) {
  checkbox.checked = isEnabled(checkbox.dataset.channel);
  checkbox.addEventListener("change", toggle);
}
