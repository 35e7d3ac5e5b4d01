// The two graphs of file delivery: delay and accepted events over lumisections, a line a stream.

import { ask, note, parameters } from "./url_state.js";
import { axis, draw, fromZero, lineStyle, lumisectionAxis, pageColour, renew, short } from "./graph.js";

const HEIGHT = 190;
const section = document.getElementById("graphs");
const words = document.getElementById("graph-note");
const legend = document.getElementById("streams");
const lateS = Number(section.dataset.lateS);

let asked = null; // what is drawn or on its way: cluster, run, version and time of the delivery, whole or not
let isWhole = false; // whether every lumisection of a long run is wanted, because somebody looks closer
let shown = null; // the delivery that is drawn
let graphs = [];

const hidden = () => new Set((parameters().get("hide") ?? "").split(",").filter(Boolean));
const timeOfFile = () => parameters().get("time") ?? "mtime";
/** Draws the delivery that the run's part names, if it is not drawn already. */
async function update() {
  const { cluster, run, delivery } = document.getElementById("run").dataset;
  const time = timeOfFile();
  const key = [cluster, run, delivery, time, isWhole].join();
  if (key === asked) return;
  asked = key;
  const query = new URLSearchParams({ db: cluster, run, time, ...(isWhole && { whole: 1 }) });
  const answer = await fetch(`${section.dataset.url}?${query}`).catch(() => null);
  if (!answer?.ok) asked = null;
  else if (key === asked) show(await answer.json());
}

function show(delivery) {
  const names = ({ streams }) => streams.map(({ name }) => name).join();
  const isSame = shown && names(shown) === names(delivery) && graphs.length;
  shown = delivery;
  if (isSame) columns().forEach((data, n) => renew(graphs[n], data));
  else rebuild();
  tell();
}

function rebuild() {
  for (const graph of graphs) graph.destroy();
  const { streams } = shown;
  section.classList.toggle("has-graphs", streams.length > 0);
  graphs = streams.length ? [drawDelay(), drawEvents()] : [];
  legend.replaceChildren(...streams.map(legendEntry));
}

function columns() {
  const { lumisections, streams } = shown;
  return [
    [lumisections, ...streams.map(({ delay_s: delays }) => delays)],
    [lumisections, ...streams.map(({ events }) => events)],
  ];
}

function drawDelay() {
  return drawLines("delay-graph", columns()[0], { draw: [drawLate], setCursor: [showValues] });
}

function drawEvents() {
  return drawLines("events-graph", columns()[1], {});
}

function drawLines(id, data, hooks) {
  const off = hidden();
  const lines = shown.streams.map(({ name }, n) => ({
    ...lineStyle(n),
    width: 1.5,
    show: !off.has(name),
    points: { size: 4 },
  }));
  return draw(document.getElementById(id), {
    height: HEIGHT,
    data,
    series: [{}, ...lines],
    scales: { x: { time: false }, y: { range: fromZero } },
    axes: [lumisectionAxis(), axis(short, { size: 44 })],
    cursor: { sync: { key: "delivery" }, points: { size: 6 } },
    hooks,
  });
}

// The line from which on a file is late, where the graph reaches it.
function drawLate(graph) {
  if (lateS > graph.scales.y.max) return;
  const { ctx, bbox } = graph;
  const y = Math.round(graph.valToPos(lateS, "y", true));
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = pageColour("crashed");
  ctx.setLineDash([6, 4]);
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.textAlign = "right";
  ctx.fillText("late", bbox.left + bbox.width - 4, y - 4);
  ctx.restore();
}

function tell() {
  const { lumisections, last, streams, files, late, start_is_guess: isGuess } = shown;
  if (!streams.length) {
    words.textContent = "Nothing is known of this run’s files.";
    return;
  }
  if (!files) {
    words.textContent = "When the run started is not known, so delays can’t be told.";
    return;
  }
  words.textContent =
    `LS ${lumisections[0]}–${last}: ` +
    `${late ? `${late} of ${files}` : "no"} files later than ${lateS} s` +
    (isGuess ? "; the run’s start is a guess" : "");
}

// The legend: each stream's line, its values under the cursor, and a switch.

function legendEntry({ name }, n) {
  const { stroke, dash } = lineStyle(n);
  const entry = document.getElementById("stream").content.firstElementChild.cloneNode(true);
  entry.querySelector("line").setAttribute("stroke", stroke);
  entry.querySelector("line").setAttribute("stroke-dasharray", dash.join(" "));
  entry.querySelector(".stream-name").textContent = name;
  entry.setAttribute("aria-pressed", String(!hidden().has(name)));
  entry.addEventListener("click", () => toggle(name));
  return entry;
}

function showValues(graph) {
  const at = graph.cursor.idx;
  const { lumisections, streams } = shown;
  const isOn = at !== null && at !== undefined && graph.cursor.left >= 0;
  section.querySelector("#cursor-ls").textContent = isOn ? `LS ${lumisections[at]}` : "";
  streams.forEach((stream, n) => {
    const entry = legend.children[n];
    const [delay, events] = entry.querySelectorAll("output");
    const isTold = isOn && entry.getAttribute("aria-pressed") === "true";
    delay.textContent = isTold ? worded(stream.delay_s[at], " s") : "";
    events.textContent = isTold ? worded(stream.events[at], "") : "";
  });
}

const worded = (value, unit) => (value === null ? "–" : `${value}${unit}`);

function toggle(name) {
  const off = hidden();
  if (!off.delete(name)) off.add(name);
  choose("hide", [...off].join());
}

function choose(name, value) {
  note(name, value);
  applyAddress();
  // The links of the run's part carry the choice along.
  ask();
}

/** Brings graphs and buttons to what the address says. */
function applyAddress() {
  for (const button of section.querySelectorAll("[data-time]")) {
    button.setAttribute("aria-pressed", String(button.dataset.time === timeOfFile()));
  }
  if (!graphs.length) return;
  const off = hidden();
  shown.streams.forEach(({ name }, n) => {
    legend.children[n].setAttribute("aria-pressed", String(!off.has(name)));
    for (const graph of graphs) graph.setSeries(n + 1, { show: !off.has(name) }, false);
  });
  update();
}

function lookCloser() {
  if (!shown || shown.is_whole) return;
  isWhole = true;
  update();
}

section.addEventListener("pointerenter", lookCloser);
section.addEventListener("click", ({ target }) => {
  if (target.dataset.time) choose("time", target.dataset.time);
});
document.addEventListener("part", update);
addEventListener("popstate", applyAddress);
update();
