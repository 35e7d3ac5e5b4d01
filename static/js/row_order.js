// The order of the rows of the job table. If states change, rows move only after a moment, in which the reader sees
// the change where it happens; then they glide to their new places. What the reader does takes effect at once.

import { params } from "./url_state.js";

const MOMENT_MS = 3000;
const GLIDE_MS = 400;
const ROWS = ".jobs-table > tbody";

let shown = null; // the view that is shown: the run and the parameters that choose and sort its rows
let wanted = null; // ids of the rows in the order of the server; null if they are in it
let timer = 0;

const viewOf = ({ dataset: { cluster, run } }) => [cluster, run, ...["sort", "q", "state"].map((name) => params().get(name))].join();
const idsOf = (root) => [...root.querySelectorAll(ROWS)].map(({ id }) => id);

/** Gives the rows of a response the order in which they are shown, unless the reader has asked for another view. */
function keepOrder(response) {
  const run = response.querySelector("#run");
  if (!run) return;
  const view = viewOf(run);
  const before = idsOf(document);
  const after = idsOf(run);
  const isOtherView = view !== shown;
  shown = view;
  if (isOtherView || isSameOrder(before, after)) {
    settle(null);
    return;
  }
  arrange(run, mergedOrder(before, after));
  settle(after);
}

function settle(order) {
  if (order === null) clearTimeout(timer);
  else if (wanted === null) timer = setTimeout(moveRows, MOMENT_MS);
  wanted = order;
}

// New and removed rows do not change the order of the others.
function isSameOrder(before, after) {
  const known = new Set(before);
  const remaining = new Set(after);
  return before.filter((id) => remaining.has(id)).join() === after.filter((id) => known.has(id)).join();
}

/** The rows of `after` in the order of `before`; new ones behind the row that they follow in `after`. */
function mergedOrder(before, after) {
  const remaining = new Set(after);
  const merged = before.filter((id) => remaining.has(id));
  const placed = new Set(merged);
  after.forEach((id, n) => {
    if (placed.has(id)) return;
    merged.splice(n ? merged.indexOf(after[n - 1]) + 1 : 0, 0, id);
    placed.add(id);
  });
  return merged;
}

function arrange(root, order) {
  const rows = new Map([...root.querySelectorAll(ROWS)].map((row) => [row.id, row]));
  const table = rows.values().next().value?.parentElement;
  for (const id of order) if (rows.has(id)) table.append(rows.get(id));
}

function moveRows() {
  const table = document.querySelector(".jobs-table");
  if (!table || !wanted) return;
  const order = wanted;
  wanted = null;
  const rows = [...table.querySelectorAll(":scope > tbody")];
  const tops = new Map(rows.map((row) => [row, row.getBoundingClientRect().top]));
  reorder(table, order.filter((id) => document.getElementById(id)));
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  for (const row of rows) {
    const distance = tops.get(row) - row.getBoundingClientRect().top;
    if (distance) row.animate({ transform: [`translateY(${distance}px)`, "none"] }, { duration: GLIDE_MS, easing: "ease-in-out" });
  }
}

// Rows that are in order stay in the document, so that scrolling in them is kept. Browsers take the focus and the
// selection from those that move.
function reorder(table, order) {
  const focused = document.activeElement;
  const selection = getSelection();
  const { anchorNode, anchorOffset, focusNode, focusOffset } = selection;
  let next = null;
  for (const id of [...order].reverse()) {
    const row = document.getElementById(id);
    if (row.nextElementSibling !== next) move(table, row, next);
    next = row;
  }
  if (document.activeElement !== focused) focused.focus({ preventScroll: true });
  const isSelected = selection.anchorNode === anchorNode && selection.focusNode === focusNode;
  if (!isSelected) selection.setBaseAndExtent(anchorNode, anchorOffset, focusNode, focusOffset);
}

function move(table, row, next) {
  if (table.moveBefore) table.moveBefore(row, next);
  else table.insertBefore(row, next);
}

document.addEventListener("beforemorph", ({ detail: response }) => keepOrder(response));
shown = viewOf(document.getElementById("run"));
