// Copies a short text of the run's state, for the e-log.

const button = document.getElementById("copy-state");

async function copy() {
  const text = document.getElementById("elog").textContent.trim();
  try {
    await navigator.clipboard.writeText(text);
    tell("copied");
  } catch {
    // Without a secure context, or with the clipboard closed to pages, the reader copies it from here.
    prompt("Copy this text:", text);
  }
}

function tell(words) {
  const state = button.querySelector("output");
  state.textContent = words;
  setTimeout(() => (state.textContent = ""), 2000);
}

button.hidden = false;
button.addEventListener("click", copy);
