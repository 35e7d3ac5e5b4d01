// Copies a group of crashes as Markdown for an issue. The server's links have paths only; the origin is added here.

const CONFIRMATION_MS = 2000;

const field = document.getElementById("issue-text");
const button = document.getElementById("copy-issue");

// The excerpt of the log, between the fences, is left alone.
function withOrigin(text, fence) {
  const parts = fence ? text.split(fence) : [text];
  const complete = (part) => part.replaceAll("](/", `](${location.origin}/`);
  return parts.map((part, index) => (index === 1 ? part : complete(part))).join(fence);
}

field.value = withOrigin(field.value, field.dataset.fence);

button.addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(field.value);
  } catch {
    // Denied, or not available at all without HTTPS: the reader copies the text.
    document.getElementById("issue").open = true;
    field.focus();
    field.select();
    return;
  }
  const status = button.querySelector("output");
  status.textContent = "copied";
  setTimeout(() => (status.textContent = ""), CONFIRMATION_MS);
});
