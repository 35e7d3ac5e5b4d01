// Copies a report as Markdown or as text, and prints it. The server's texts have paths only; the origin is added here.

import { copy } from "./clipboard.js";

const report = document.getElementById("report");
const markdown = document.getElementById("report-markdown");
const text = document.getElementById("report-text");

markdown.value = markdown.value.replaceAll("](/", `](${location.origin}/`);
text.value += `\n${location.href}\n`;

report.addEventListener("click", async ({ target }) => {
  const button = target.closest("[data-copies]");
  if (!button) return;
  const field = document.getElementById(button.dataset.copies);
  if (await copy(field.value, button)) return;
  // The reader copies the text.
  field.closest("details").open = true;
  field.focus();
  field.select();
});

document.getElementById("print-report").addEventListener("click", () => window.print());
