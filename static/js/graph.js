// What all graphs share: uPlot in the page's colours, as wide as its container.

import { dateUnlessToday, hourAndMinute, secondOfDay, zoneIfAmbiguous } from "./time_format.js";

// Lines have the colours --line-1 and following of graphs.css. When they are used up they repeat, dashed.
const COLOURS = 8;
const DASHES = [[], [8, 4], [2, 3]];

// Tick distances: lumisections, and seconds.
const LUMISECTION_STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];
const TIME_STEPS_S = [1, 2, 5, 10, 20, 30, 60, 120, 240, 720, 1440].map((minutes) => 60 * minutes);
const HOUR_S = 3600;

/** Colour, which depends on the theme, and dashes of the n-th line of a graph. */
export function lineStyle(n) {
  return { stroke: () => pageColour(lineColour(n)), dash: DASHES[Math.floor(n / COLOURS) % DASHES.length] };
}

/** The custom property of the colour of the n-th line, without its dashes. */
export function lineColour(n) {
  return `line-${(n % COLOURS) + 1}`;
}

/** A colour of the style sheet, by the name of its custom property. */
export function pageColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** An axis whose values are formatted by `format`. */
export function axis(format, options = {}) {
  return {
    stroke: () => pageColour("secondary-text"),
    grid: { stroke: () => pageColour("border"), width: 1 },
    ticks: { stroke: () => pageColour("border"), width: 1 },
    font: "12px system-ui, sans-serif",
    values: (_graph, splits) => splits.map((value) => (value === null ? "" : format(value))),
    ...options,
  };
}

/** An axis of lumisections, which are whole numbers. */
export function lumisectionAxis() {
  return axis((ls) => `${ls}`, { size: 28, incrs: LUMISECTION_STEPS });
}

/**
 * An axis of unix times in seconds. Its first tick, and the first of each day, has the date unless that is today; in the
 * hour that comes twice in autumn, the first tick of each zone has its name.
 */
export function timeAxis() {
  return axis(null, {
    size: (_graph, labels) => (labels?.some((label) => label.includes("\n")) ? 44 : 28),
    incrs: TIME_STEPS_S,
    splits: timeTicks,
    values: (_graph, splits) => {
      const [dates, zones] = [dateUnlessToday, zoneIfAmbiguous].map((format) => changes(splits.map((at) => format(at * 1000))));
      return splits.map((at, n) => {
        const below = [dates[n], zones[n]].filter(Boolean).join(" ");
        return hourAndMinute(at * 1000) + (below && `\n${below}`);
      });
    },
  });
}

// Texts that are not as the one before; empty in place of the others.
const changes = (texts) => texts.map((text, n) => (text === (texts[n - 1] ?? "") ? "" : text));

// Round times on the reader's clock. uPlot's own are round on the computer's clock, whose zone may be another. The offsets
// of both zones are whole hours.
function timeTicks(_graph, _axis, min, max, step) {
  const distance = Math.min(step, HOUR_S);
  const first = Math.ceil(min / distance);
  const ticks = Array.from({ length: Math.max(0, Math.floor(max / distance) - first + 1) }, (_, n) => (first + n) * distance);
  return ticks.filter((at) => secondOfDay(at * 1000) % step === 0);
}

/** A number short enough for an axis: 1200, 12k, 3.4M. */
export function abbreviated(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return `${+(value / 1e6).toFixed(1)}M`;
  if (size >= 1e4) return `${+(value / 1e3).toFixed(1)}k`;
  return `${+value.toFixed(2)}`;
}

/** The range of a scale that starts at zero, with a margin at the top. */
export function fromZero(_graph, _min, max) {
  return [0, max > 0 ? max * 1.08 : 1];
}

/** Draws a graph into `container` and follows its width. Dragging zooms, a double click resets the zoom. */
export function draw(container, { height, data, ...options }) {
  const graph = new uPlot(
    { width: container.clientWidth || 300, height, legend: { show: false }, ...options },
    data,
    container,
  );
  const observer = new ResizeObserver(() => {
    if (container.clientWidth && container.clientWidth !== graph.width) {
      graph.setSize({ width: container.clientWidth, height });
    }
  });
  const repaint = () => graph.redraw(false, true);
  observer.observe(container);
  addEventListener("theme", repaint);
  addEventListener("zone", repaint);
  graph.hooks.destroy = [
    () => {
      observer.disconnect();
      removeEventListener("theme", repaint);
      removeEventListener("zone", repaint);
    },
  ];
  return graph;
}

/** Replaces the data of a graph and keeps its zoom. */
export function updateData(graph, data) {
  const before = graph.data[0];
  const { min, max } = graph.scales.x;
  const isZoomed = before.length > 0 && (min > before[0] || max < before[before.length - 1]);
  graph.setData(data, !isZoomed);
  if (isZoomed) graph.redraw();
}

/** The index of the data under a graph's cursor; null if there is none. */
export function cursorIndex({ cursor }) {
  return cursor.left >= 0 ? (cursor.idx ?? null) : null;
}
