// What all graphs have in common: uPlot in the page's colours, as wide as the place it is given.

// Told apart by eyes of all kinds (Okabe and Ito, two of them darker, so that they can be seen on white); when they
// are used up they come again, dashed.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b57900", "#2b9bd6", "#8c6bb1", "#808890"];
const DASHES = [[], [8, 4], [2, 3]];

// From mark to mark: lumisections, and seconds.
const LUMISECTION_STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];
const MINUTE_STEPS = [1, 2, 5, 10, 20, 30, 60, 120, 240, 720, 1440].map((minutes) => 60 * minutes);

/** The colour and the dashes of the n-th line of a graph. */
export function lineStyle(n) {
  return { stroke: COLOURS[n % COLOURS.length], dash: DASHES[Math.floor(n / COLOURS.length) % DASHES.length] };
}

/** A colour of the page's style sheet, by its name there. */
export function pageColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** An axis; `format` words its values. */
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

/** An axis of times of day, told to the minute by `clock`. */
export function minuteAxis(clock) {
  return axis((at) => clock.format(at * 1000), { size: 28, incrs: MINUTE_STEPS });
}

/** Numbers short enough for an axis: 1200, 12k, 3.4M. */
export function short(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return `${+(value / 1e6).toFixed(1)}M`;
  if (size >= 1e4) return `${+(value / 1e3).toFixed(1)}k`;
  return `${+value.toFixed(2)}`;
}

/** Scales that begin at zero and leave some room above. */
export function fromZero(_graph, _min, max) {
  return [0, max > 0 ? max * 1.08 : 1];
}

/** A graph in `place`: dragging zooms, a double click goes back. Its size follows the place's width. */
export function draw(place, { height, data, ...options }) {
  const graph = new uPlot(
    { width: place.clientWidth || 300, height, legend: { show: false }, ...options },
    data,
    place,
  );
  const fit = new ResizeObserver(() => {
    if (place.clientWidth && place.clientWidth !== graph.width) {
      graph.setSize({ width: place.clientWidth, height });
    }
  });
  const repaint = () => graph.redraw(false);
  fit.observe(place);
  addEventListener("theme", repaint);
  graph.hooks.destroy = [
    () => {
      fit.disconnect();
      removeEventListener("theme", repaint);
    },
  ];
  return graph;
}

/** Gives a graph newer data; what the reader zoomed into stays in view. */
export function renew(graph, data) {
  const before = graph.data[0];
  const { min, max } = graph.scales.x;
  const isZoomed = before.length > 0 && (min > before[0] || max < before[before.length - 1]);
  graph.setData(data, !isZoomed);
  if (isZoomed) graph.redraw();
}
