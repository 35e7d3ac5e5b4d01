// What is asked before a command is sent that can't be taken back. On production the machine's name is typed.

const dialog = document.getElementById("question");
const words = document.getElementById("question-words");
const consequence = document.getElementById("question-consequence");
const typing = document.getElementById("question-typing");
const name = document.getElementById("question-name");
const typed = document.getElementById("question-typed");
const yes = document.getElementById("question-yes");

let goOn = null;

document.addEventListener("htmx:confirm", (event) => {
  const form = event.target;
  if (!form.dataset?.ask) return;
  event.preventDefault();
  ask(form);
  goOn = () => event.detail.issueRequest(true);
});

function ask(form) {
  const given = new FormData(form);
  words.textContent = form.dataset.ask.replace(/\{(\w+)\}/g, (_, field) => given.get(field));
  consequence.textContent = form.dataset.consequence;
  dialog.dataset.kind = form.dataset.kind;
  yes.textContent = `Yes, ${verb(words.textContent)}`;
  name.textContent = form.dataset.type ?? "";
  typing.hidden = !form.dataset.type;
  typed.value = "";
  judge();
  dialog.returnValue = "no";
  dialog.showModal();
}

// The question's first word is what is done: "Restart …?", "Start …?".
function verb(question) {
  return question.split(" ")[0].toLowerCase();
}

function judge() {
  yes.disabled = !typing.hidden && typed.value.trim() !== name.textContent;
}

typed.addEventListener("input", judge);

// Return in the field is the default button's: the "no". It is meant for "yes" once the name is right.
typed.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  if (!yes.disabled) yes.click();
});

dialog.addEventListener("close", () => {
  const answered = goOn;
  goOn = null;
  if (dialog.returnValue === "yes") answered?.();
});
