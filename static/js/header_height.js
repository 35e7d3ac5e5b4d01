// Publishes the header's height to the style sheets: on narrow screens it takes several lines.

const header = document.querySelector(".page-header");

new ResizeObserver(() => {
  document.documentElement.style.setProperty("--header-height", `${header.getBoundingClientRect().height}px`);
}).observe(header);
