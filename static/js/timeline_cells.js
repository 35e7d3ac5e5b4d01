// The cells of the timeline: pointing at one, or focusing it, shows its jobs; arrow keys move from cell to cell.

import { request } from "./requests.js";

const DELAY_MS = 120;
const MARGIN_PX = 8;
const details = document.getElementById("cell-details");
const table = document.getElementById("timeline-table");
const url = new URL("cell", location.href);

let timer = 0;
let wanted = null; // the cell whose details were requested last; null once they are hidden

async function load(cell) {
  const place = cell.closest("td");
  const run = place.parentElement.cells[0].querySelector("a");
  const db = new URL(run.href).searchParams.get("db");
  const client = table.tHead.rows[0].cells[place.cellIndex].title;
  const query = new URLSearchParams({ db, run: run.textContent, client }).toString();
  const response = await request(`${url.pathname}?${query}`);
  return response && response.text().catch(() => null);
}

async function show(cell) {
  wanted = cell;
  const html = await load(cell);
  if (html === null || cell !== wanted || !cell.matches(":hover, :focus")) return;
  details.innerHTML = html;
  details.hidden = false;
  describe(cell);
  place(cell);
}

function describe(cell) {
  table.querySelector("[aria-describedby]")?.removeAttribute("aria-describedby");
  cell?.setAttribute("aria-describedby", details.id);
}

// Below the cell, or above it if it would leave the window.
function place(cell) {
  const { left, top, bottom } = cell.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = details;
  const fitsBelow = bottom + height < innerHeight;
  details.style.left = `${Math.max(MARGIN_PX, Math.min(left, innerWidth - width - MARGIN_PX))}px`;
  details.style.top = `${fitsBelow ? bottom + 4 : Math.max(MARGIN_PX, top - height - 4)}px`;
}

function hide() {
  clearTimeout(timer);
  wanted = null;
  describe(null);
  details.hidden = true;
}

function showSoon(cell) {
  clearTimeout(timer);
  timer = setTimeout(() => show(cell), DELAY_MS);
}

// The delay leaves time to move the pointer onto a link in the details.
function hideSoon() {
  clearTimeout(timer);
  timer = setTimeout(hide, DELAY_MS);
}

// The nearest cell in a direction; places without a job are skipped.
function neighbour(cell, down, right) {
  let place = cell.closest("td");
  do {
    const row = table.rows[place.parentElement.rowIndex + down];
    place = row?.cells[place.cellIndex + right];
  } while (place && !place.querySelector(".cell"));
  return place?.querySelector(".cell");
}

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

table.addEventListener("pointerover", ({ target }) => {
  const cell = target.closest(".cell");
  if (cell) showSoon(cell);
  else hideSoon();
});
table.addEventListener("pointerleave", hideSoon);
details.addEventListener("pointerenter", () => clearTimeout(timer));
details.addEventListener("pointerleave", hideSoon);
table.addEventListener("focusin", ({ target }) => target.matches(".cell") && showSoon(target));
table.addEventListener("focusout", hide);
table.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hide();
  const step = STEPS[event.key];
  const next = step && event.target.matches(".cell") && neighbour(event.target, ...step);
  if (!next) return;
  event.preventDefault();
  next.focus();
});
document.addEventListener("fragment", () => {
  document.getElementById("rows-shown").textContent = table.querySelectorAll("tbody th").length;
  document.getElementById("run-count").textContent = document.getElementById("newest-runs").dataset.runCount;
});
