// The graphs of each job that is open: memory over time, and events by lumisection.

import { axis, draw, fromZero, lineStyle, lumisectionAxis, minuteAxis, renew, short } from "./graph.js";

const HEIGHT = 150;
const KIB_PER_GIB = 1024 * 1024;

const clock = new Intl.DateTimeFormat("en-GB", {
  timeZone: "Europe/Zurich",
  hour: "2-digit",
  minute: "2-digit",
  hourCycle: "h23",
});

// What is drawn in the place of a job's graphs: the version of its series, and the graphs.
const drawn = new WeakMap();

/** Draws what is open and not drawn yet, and what has newer series. */
function update() {
  for (const place of document.querySelectorAll("[data-series]")) {
    const { version } = place.dataset;
    if (drawn.get(place)?.version !== version) show(place, version);
  }
}

async function show(place, version) {
  const before = drawn.get(place);
  drawn.set(place, { ...before, version });
  const answer = await fetch(place.dataset.series).catch(() => null);
  if (!answer?.ok) {
    drawn.set(place, { ...before, version: null });
    return;
  }
  const { memory, events } = await answer.json();
  const data = [
    [memory.at_s, memory.rss_kb.map(gib), memory.size_kb.map(gib)],
    [events.lumisections, events.events],
  ];
  const graphs = before?.graphs ?? [drawMemory(place, data[0]), drawEvents(place, data[1])];
  if (before?.graphs) graphs.forEach((graph, n) => renew(graph, data[n]));
  drawn.set(place, { version, graphs });
}

const gib = (kib) => kib / KIB_PER_GIB;

function drawMemory(place, data) {
  const figure = place.querySelector("[data-graph=memory]");
  return draw(figure.lastChild, {
    height: HEIGHT,
    data,
    series: [{}, line(0), { ...line(0), dash: [4, 3] }],
    scales: { x: { time: true }, y: { range: fromZero } },
    axes: [minuteAxis(clock), axis(short, { size: 44 })],
    hooks: { setCursor: [(graph) => tell(figure, graph, (at) => clock.format(at * 1000), " GiB")] },
  });
}

function drawEvents(place, data) {
  const figure = place.querySelector("[data-graph=events]");
  return draw(figure.lastChild, {
    height: HEIGHT,
    data,
    series: [{}, line(1)],
    scales: { x: { time: false }, y: { range: fromZero } },
    axes: [lumisectionAxis(), axis(short, { size: 44 })],
    hooks: { setCursor: [(graph) => tell(figure, graph, (ls) => `LS ${ls}`, "")] },
  });
}

const line = (n) => ({ ...lineStyle(n), width: 1.5, points: { size: 4 } });

function tell(figure, graph, wordX, unit) {
  const at = graph.cursor.idx;
  const isOn = at !== null && at !== undefined && graph.cursor.left >= 0;
  const values = graph.data.slice(1).map((column) => `${+(column[at] ?? 0).toFixed(2)}${unit}`);
  figure.querySelector("output").textContent = isOn ? `${wordX(graph.data[0][at])}: ${values.join(", ")}` : "";
}

document.addEventListener("part", update);
update();
