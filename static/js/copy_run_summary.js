// Copies the summary of the run for the e-log.

const CONFIRMATION_MS = 2000;

async function copy(button) {
  const text = document.getElementById("elog").textContent.trim();
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // The browser denies access to the clipboard: let the reader copy the text.
    prompt("Copy this text:", text);
    return;
  }
  const status = button.querySelector("output");
  status.textContent = "copied";
  setTimeout(() => (status.textContent = ""), CONFIRMATION_MS);
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest("#copy-summary");
  if (button) copy(button);
});
