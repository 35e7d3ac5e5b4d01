// Confirmation of commands that can't be undone. On production, the machine's name has to be typed.

const dialog = document.getElementById("confirm-dialog");
const question = document.getElementById("confirm-question");
const consequence = document.getElementById("confirm-consequence");
const typing = document.getElementById("confirm-typing");
const name = document.getElementById("confirm-name");
const typed = document.getElementById("confirm-typed");
const button = document.getElementById("confirm-button");

let send = null;

document.addEventListener("htmx:confirm", (event) => {
  const form = event.target;
  if (!form.dataset?.confirm) return;
  event.preventDefault();
  open(form);
  send = () => event.detail.issueRequest(true);
});

function open(form) {
  const fields = new FormData(form);
  const run = document.getElementById(form.dataset.runOf)?.dataset.run;
  question.textContent = form.dataset.confirm
    .replace(/\{(\w+)\}/g, (_, field) => fields.get(field))
    .replace(/\{( .+) \}/, (_, words) => (run ? `${words} ${run}` : ""));
  consequence.textContent = form.dataset.consequence;
  dialog.dataset.kind = form.dataset.kind;
  button.textContent = verb(question.textContent);
  name.textContent = form.dataset.typeName ?? "";
  typing.hidden = !form.dataset.typeName;
  typed.value = "";
  updateButton();
  dialog.returnValue = "cancel";
  dialog.showModal();
}

// The question starts with the verb: "Restart …?", "Start …?".
function verb(text) {
  return text.split(" ")[0];
}

function updateButton() {
  button.disabled = !typing.hidden && typed.value.trim() !== name.textContent;
}

typed.addEventListener("input", updateButton);

// Enter would press the form's default button, which is Cancel.
typed.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  if (!button.disabled) button.click();
});

dialog.addEventListener("close", () => {
  const confirmed = send;
  send = null;
  if (dialog.returnValue === "confirm") confirmed?.();
});
