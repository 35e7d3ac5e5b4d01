// Copying to the clipboard by a button, whose output confirms it for a moment.

const CONFIRMATION_MS = 2000;

/** Copies a text and returns whether it could: a browser may deny it, and has no clipboard at all without HTTPS. */
export async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    return false;
  }
  const status = button.querySelector("output");
  status.textContent = "copied";
  setTimeout(() => (status.textContent = ""), CONFIRMATION_MS);
  return true;
}
