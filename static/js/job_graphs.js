// The graphs of a job: memory over time, and events by lumisection, with those of the same client in the previous run.

import {
  abbreviated,
  axis,
  cursorIndex,
  draw,
  fromZero,
  lineStyle,
  lumisectionAxis,
  pageColour,
  timeAxis,
  updateData,
} from "./graph.js";
import { fetchJson } from "./requests.js";
import { shortTime } from "./time_format.js";

const HEIGHT = 150;
const KIB_PER_GIB = 1024 * 1024;

// By container: the graphs in it, and the version of the series that they show.
const drawn = new Map();

/** Draws the graphs of newly expanded jobs, and updates those whose series are out of date. */
function update() {
  for (const container of drawn.keys()) if (!container.isConnected) remove(container);
  for (const container of document.querySelectorAll("[data-series]")) {
    const { version } = container.dataset;
    if (drawn.get(container)?.version !== version) show(container, version);
  }
}

async function show(container, version) {
  drawn.set(container, { ...drawn.get(container), version });
  const series = await fetchJson(container.dataset.series);
  const { version: requested, graphs } = drawn.get(container) ?? {};
  if (requested !== version) return; // newer series are loading, or the job was collapsed
  if (series === null) {
    drawn.set(container, { graphs });
    return;
  }
  const { memory, events, previous_run: previousRun } = series;
  const data = [
    [memory.at_s, ...[memory.previous_rss_kb, memory.rss_kb, memory.size_kb].map((column) => column.map(toGib))],
    [events.lumisections, events.previous_events, events.events],
  ];
  graphs?.forEach((graph, n) => updateData(graph, data[n]));
  drawn.set(container, { version, graphs: graphs ?? [drawMemory(container, data[0]), drawEvents(container, data[1])] });
  for (const note of container.querySelectorAll(".graph-previous")) {
    note.hidden = previousRun === null;
    note.lastChild.textContent = `run ${previousRun} (previous with this key)`;
  }
}

// A graph that is not destroyed stays in memory with its data: it listens to changes of theme and zone.
function remove(container) {
  for (const graph of drawn.get(container).graphs ?? []) graph.destroy();
  drawn.delete(container);
}

const toGib = (kib) => kib && kib / KIB_PER_GIB;

function drawMemory(container, data) {
  return drawFigure(container.querySelector("[data-graph=memory]"), data, {
    series: [{}, previous(), line(0), { ...line(0), dash: [4, 3] }],
    xAxis: timeAxis(),
    formatX: (at) => shortTime(at * 1000),
    unit: " GiB",
    isTime: true,
  });
}

function drawEvents(container, data) {
  return drawFigure(container.querySelector("[data-graph=events]"), data, {
    series: [{}, previous(), line(1)],
    xAxis: lumisectionAxis(),
    formatX: (ls) => `LS ${ls}`,
    unit: "",
    isTime: false,
  });
}

const line = (n) => ({ ...lineStyle(n), width: 1.5, points: { size: 4 } });

// Drawn first, i.e. below the job's own lines.
const previous = () => ({ stroke: () => pageColour("line-previous"), width: 1.5, points: { show: false } });

function drawFigure(figure, data, { series, xAxis, formatX, unit, isTime }) {
  return draw(figure.querySelector(".plot"), {
    height: HEIGHT,
    data,
    series,
    scales: { x: { time: isTime }, y: { range: fromZero } },
    axes: [xAxis, axis(abbreviated, { size: 44 })],
    hooks: { setCursor: [(graph) => showValues(figure, graph, formatX, unit)] },
  });
}

function showValues(figure, graph, formatX, unit) {
  const at = cursorIndex(graph);
  const [previousValue, ...values] = graph.data.slice(1).map((column) => formatValue(column[at], unit));
  const before = figure.querySelector(".graph-previous").hidden ? "" : ` (${previousValue})`;
  figure.querySelector("output").textContent =
    at === null ? "" : `${formatX(graph.data[0][at])}: ${values.join(", ")}${before}`;
}

const formatValue = (value, unit) => (value === null || value === undefined ? "–" : `${+value.toFixed(2)}${unit}`);

document.addEventListener("fragment", update);
update();
