// A term on the page (the filter `term` of web/pages/markup.py) opens the help panel at its meaning.

const help = document.getElementById("help");
let wanted = null;

function showMeaning() {
  if (wanted) document.getElementById(wanted)?.focus();
  wanted = null;
}

document.addEventListener("click", ({ target }) => {
  wanted = target.closest("[data-term]")?.dataset.term ?? null;
  // The browser opens the panel after this event, unless it is open.
  if (help.matches(":popover-open")) showMeaning();
});
help.addEventListener("toggle", showMeaning);
