// Scripts of the wall view. It is left by `w` or Escape; the pointer is hidden until it is moved.

import "./base.js";

const POINTER_MS = 3000;
const wall = document.getElementById("wall");
let timer = 0;

document.addEventListener("keydown", ({ key, ctrlKey, metaKey, altKey }) => {
  if (ctrlKey || metaKey || altKey || !["w", "Escape"].includes(key)) return;
  location.assign(wall.dataset.leaveUrl);
});

document.addEventListener("pointermove", () => {
  wall.classList.add("has-pointer");
  clearTimeout(timer);
  timer = setTimeout(() => wall.classList.remove("has-pointer"), POINTER_MS);
});
