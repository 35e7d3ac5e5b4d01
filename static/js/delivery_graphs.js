// The graphs of file delivery: delay and accepted events by lumisection, a line per stream.

import { abbreviated, axis, cursorIndex, draw, fromZero, lineColour, lineStyle, lumisectionAxis, pageColour, updateData } from "./graph.js";
import { fetchJson } from "./requests.js";
import { params, refresh, setParam } from "./url_state.js";

const HEIGHT = 190; // also in graphs.css
const MARGIN = "200px"; // between the reader's view and graphs that are drawn
const section = document.getElementById("graphs");
const note = document.getElementById("graph-note");
const legend = document.getElementById("streams");
const lateS = Number(section.dataset.lateS);

let requested = null; // what is shown or loading: cluster, run, delivery version, file time, every lumisection or not
let isWhole = false; // every lumisection of a long run is needed, since the reader looks closer
let shown = null; // the delivery that is shown
let isNear = false; // the reader has come near, or prints
let graphs = []; // empty until then: below the jobs of a run, most readers never see them

const hiddenStreams = () => new Set((params().get("hide") ?? "").split(",").filter(Boolean));
const fileTime = () => params().get("time") ?? "mtime";

/** Loads and shows the delivery that the run fragment names, unless it is shown. */
async function update() {
  const { cluster, run, deliveryVersion } = document.getElementById("run").dataset;
  const time = fileTime();
  const key = [cluster, run, deliveryVersion, time, isWhole].join();
  if (key === requested) return;
  requested = key;
  const query = new URLSearchParams({ db: cluster, run, time, ...(isWhole && { whole: 1 }) });
  const delivery = await fetchJson(`${section.dataset.url}?${query}`);
  if (key !== requested) return; // another delivery is loading or shown
  if (delivery === null) requested = null;
  else show(delivery);
}

function show(delivery) {
  const names = ({ streams }) => streams.map(({ name }) => name).join();
  const hasSameStreams = shown && names(shown) === names(delivery);
  shown = delivery;
  const data = columns();
  if (hasSameStreams) graphs.forEach((graph, n) => updateData(graph, data[n]));
  else rebuild();
  note.textContent = summary();
}

function rebuild() {
  const { streams } = shown;
  section.classList.toggle("has-graphs", streams.length > 0);
  legend.replaceChildren(...streams.map(createLegendEntry));
  for (const graph of graphs) graph.destroy();
  graphs = [];
  if (isNear) drawGraphs();
}

function drawGraphs() {
  if (!shown?.streams.length) return;
  const [delays, events] = columns();
  graphs = [
    drawLines("delay-graph", delays, { draw: [drawLateLimit], setCursor: [showValues] }),
    drawLines("events-graph", events, {}),
  ];
}

function drawFromNowOn() {
  if (isNear) return;
  isNear = true;
  drawGraphs();
}

function columns() {
  const { lumisections, streams } = shown;
  return [
    [lumisections, ...streams.map(({ delay_s: delays }) => delays)],
    [lumisections, ...streams.map(({ events }) => events)],
  ];
}

function drawLines(id, data, hooks) {
  const hidden = hiddenStreams();
  const lines = shown.streams.map(({ name }, n) => ({
    ...lineStyle(n),
    width: 1.5,
    show: !hidden.has(name),
    points: { size: 4 },
  }));
  return draw(document.getElementById(id), {
    height: HEIGHT,
    data,
    series: [{}, ...lines],
    scales: { x: { time: false }, y: { range: fromZero } },
    axes: [lumisectionAxis(), axis(abbreviated, { size: 44 })],
    cursor: { sync: { key: "delivery" }, points: { size: 6 } },
    hooks,
  });
}

// The delay from which a file is late, if it is within the graph.
function drawLateLimit(graph) {
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

function summary() {
  const { lumisections, last, streams, files, late, start_is_guess: isGuess, is_damaged: isDamaged } = shown;
  if (isDamaged) return "The stored file delivery of this run is damaged and can't be read.";
  if (!streams.length) return "No file delivery data of this run.";
  if (!files) return "The start time of this run is unknown, so no delays can be computed.";
  const lateFiles = late ? `${late} of ${files} files` : "no file";
  const guess = isGuess ? "; the start time of the run is estimated" : "";
  return `LS ${lumisections[0]}–${last}: ${lateFiles} more than ${lateS} s late${guess}`;
}

// A legend entry has the line of a stream and its values under the cursor; a click hides or shows the stream.

function createLegendEntry({ name }, n) {
  const { dash } = lineStyle(n);
  const entry = document.getElementById("stream").content.firstElementChild.cloneNode(true);
  entry.querySelector("line").style.stroke = `var(--${lineColour(n)})`;
  entry.querySelector("line").setAttribute("stroke-dasharray", dash.join(" "));
  entry.querySelector(".stream-name").textContent = name;
  entry.setAttribute("aria-pressed", String(!hiddenStreams().has(name)));
  entry.addEventListener("click", () => toggleStream(name));
  return entry;
}

function showValues(graph) {
  const at = cursorIndex(graph);
  const { lumisections, streams } = shown;
  section.querySelector("#cursor-ls").textContent = at === null ? "" : `LS ${lumisections[at]}`;
  streams.forEach((stream, n) => {
    const entry = legend.children[n];
    const [delay, events] = entry.querySelectorAll("output");
    const hasValues = at !== null && entry.getAttribute("aria-pressed") === "true";
    delay.textContent = hasValues ? formatValue(stream.delay_s[at], " s") : "";
    events.textContent = hasValues ? formatValue(stream.events[at], "") : "";
  });
}

const formatValue = (value, unit) => (value === null ? "–" : `${value}${unit}`);

function toggleStream(name) {
  const hidden = hiddenStreams();
  if (!hidden.delete(name)) hidden.add(name);
  choose("hide", [...hidden].join());
}

function choose(name, value) {
  setParam(name, value);
  applyUrl();
  // The links of the run fragment contain the choice.
  refresh();
}

/** Updates graphs and buttons to the parameters in the URL. */
function applyUrl() {
  for (const button of section.querySelectorAll("[data-time]")) {
    button.setAttribute("aria-pressed", String(button.dataset.time === fileTime()));
  }
  if (!shown?.streams.length) return;
  const hidden = hiddenStreams();
  shown.streams.forEach(({ name }, n) => {
    legend.children[n].setAttribute("aria-pressed", String(!hidden.has(name)));
    for (const graph of graphs) graph.setSeries(n + 1, { show: !hidden.has(name) }, false);
  });
  update();
}

function loadWhole() {
  if (!shown || shown.is_whole) return;
  isWhole = true;
  update();
}

section.addEventListener("pointerenter", loadWhole);
section.addEventListener("click", ({ target }) => {
  if (target.dataset.time) choose("time", target.dataset.time);
});
document.addEventListener("fragment", update);
addEventListener("popstate", applyUrl);
addEventListener("beforeprint", drawFromNowOn);
new IntersectionObserver((entries, observer) => {
  if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
  observer.disconnect();
  drawFromNowOn();
}, { rootMargin: MARGIN }).observe(section);
update();
