// How high the bar on top is, for what stays on screen below it: where there is little room it takes more lines.

const bar = document.querySelector(".top");

new ResizeObserver(() => {
  document.documentElement.style.setProperty("--bar-height", `${bar.offsetHeight}px`);
}).observe(bar);
