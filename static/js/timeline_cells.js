// A cell's details appear beside it when it is pointed at or focused; arrow keys go from cell to cell.

const PAUSE_MS = 120;
const details = document.getElementById("cell-details");
const rows = document.getElementById("timeline-rows");
const url = new URL("cell", location.href);
const known = new Map();

let pending = 0;

async function read(cell) {
  const { db, run, q: client } = Object.fromEntries(new URL(cell.href).searchParams);
  const query = new URLSearchParams({ db, run, client }).toString();
  if (!known.has(query)) {
    const answer = await fetch(`${url.pathname}?${query}`).catch(() => null);
    if (!answer?.ok) return null;
    known.set(query, await answer.text());
  }
  return known.get(query);
}

async function show(cell) {
  const html = await read(cell);
  if (html === null || !cell.matches(":hover, :focus")) return;
  details.innerHTML = html;
  details.hidden = false;
  cell.setAttribute("aria-describedby", details.id);
  place(cell);
}

// Below the cell, or above it where there is no room.
function place(cell) {
  const at = cell.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = details;
  const isRoomBelow = at.bottom + height < innerHeight;
  details.style.left = `${Math.max(8, Math.min(at.left, innerWidth - width - 8))}px`;
  details.style.top = `${isRoomBelow ? at.bottom + 4 : Math.max(8, at.top - height - 4)}px`;
}

function hide() {
  clearTimeout(pending);
  details.hidden = true;
}

function soon(cell) {
  clearTimeout(pending);
  pending = setTimeout(() => show(cell), PAUSE_MS);
}

// The cell in a direction that has one; the table's own grid says where that is.
function neighbour(cell, down, right) {
  let place = cell.closest("td");
  do {
    const row = down < 0 ? place.parentElement.previousElementSibling : place.parentElement.nextElementSibling;
    place = down ? row?.cells[place.cellIndex] : place.parentElement.cells[place.cellIndex + right];
  } while (place && !place.querySelector(".cell"));
  return place?.querySelector(".cell");
}

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

rows?.addEventListener("pointerover", ({ target }) => {
  const cell = target.closest(".cell");
  if (cell) soon(cell);
  else hide();
});
rows?.addEventListener("pointerleave", hide);
rows?.addEventListener("focusin", ({ target }) => target.matches(".cell") && soon(target));
rows?.addEventListener("focusout", hide);
rows?.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hide();
  const step = STEPS[event.key];
  const next = step && event.target.matches(".cell") && neighbour(event.target, ...step);
  if (!next) return;
  event.preventDefault();
  next.focus();
});
document.addEventListener("part", () => {
  if (!rows) return;
  const further = rows.lastElementChild.matches(".load-more") ? 1 : 0;
  document.getElementById("rows-shown").textContent = rows.rows.length - further;
});
