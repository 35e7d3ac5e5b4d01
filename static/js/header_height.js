// How high the bar on top is, for what stays on screen below it: where there is little room it takes more lines.

const bar = document.querySelector(".page-header");

new ResizeObserver(() => {
  document.documentElement.style.setProperty("--header-height", `${bar.offsetHeight}px`);
}).observe(bar);
