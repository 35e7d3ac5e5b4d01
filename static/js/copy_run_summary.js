// Copies the summary of the run for the e-log.

const CONFIRMATION_MS = 2000;

async function copy(button) {
  const outage = document.querySelector("#connection:not([hidden]), [data-stale]");
  const warning = outage ? `\nThe data were old when this was copied. ${outage.textContent.trim().replace(/\s+/g, " ")}` : "";
  const text = document.getElementById("elog").textContent.trim() + warning;
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
