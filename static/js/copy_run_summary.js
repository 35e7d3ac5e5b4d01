// Copies a short text of the run's state, for the e-log.

const TOLD_MS = 2000;

async function copy(button) {
  const text = document.getElementById("elog").textContent.trim();
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Where the clipboard is closed to pages the reader copies it from here.
    prompt("Copy this text:", text);
    return;
  }
  const state = button.querySelector("output");
  state.textContent = "copied";
  setTimeout(() => (state.textContent = ""), TOLD_MS);
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest("#copy-summary");
  if (button) copy(button);
});
