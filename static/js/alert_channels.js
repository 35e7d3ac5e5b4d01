// Sound and notification: off until the reader switches them on, asked for as browsers want it, remembered.

const SECONDS = 0.35;
const PITCHES_HZ = [880, 660];

let audio = null;

const isOn = (way) => localStorage.getItem(way) === "on";

/** Two falling tones, if the reader wants them. */
export function sound() {
  if (isOn("sound")) play();
}

function play() {
  // Browsers let a page be heard only after the reader has touched it: till then this stays silent.
  audio ??= new AudioContext();
  PITCHES_HZ.forEach((pitch, n) => {
    const tone = audio.createOscillator();
    const volume = audio.createGain();
    const at = audio.currentTime + n * SECONDS;
    tone.frequency.value = pitch;
    volume.gain.setValueAtTime(0.2, at);
    volume.gain.exponentialRampToValueAtTime(0.001, at + SECONDS);
    tone.connect(volume).connect(audio.destination);
    tone.start(at);
    tone.stop(at + SECONDS);
  });
}

/** A notification of the system, if the reader wants them. `key` makes an event one for all open pages. */
export function notify(text, key) {
  if (!isOn("notification") || Notification.permission !== "granted") return;
  const notification = new Notification(text, { tag: key });
  notification.addEventListener("click", () => window.focus());
}

async function switched({ target }) {
  const way = target.dataset.channel;
  const words = document.getElementById("alert-permission");
  words.textContent = "";
  if (way === "notification" && target.checked && (await Notification.requestPermission()) !== "granted") {
    target.checked = false;
    words.textContent = "The browser does not let this page notify; its settings of this site say why.";
  }
  if (target.checked) localStorage.setItem(way, "on");
  else localStorage.removeItem(way);
  if (way === "sound" && target.checked) play();
}

for (const box of document.querySelectorAll("[data-channel]")) {
  box.checked = isOn(box.dataset.channel);
  box.addEventListener("change", switched);
}
