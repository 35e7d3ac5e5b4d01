// Copies a group of crashes as Markdown for an issue. The server's links have paths only; the origin is added here.

import { copy } from "./clipboard.js";

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
  if (await copy(field.value, button)) return;
  // The reader copies the text.
  document.getElementById("issue").open = true;
  field.focus();
  field.select();
});
