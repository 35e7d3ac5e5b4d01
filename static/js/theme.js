// The reader's choices that hold for every page: light or dark theme, or else the system's, and the time zone. Paper is
// light. Runs before the first paint.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  const showTheme = (theme) => {
    root.dataset.bsTheme = theme;
    dispatchEvent(new Event("theme"));
  };
  const applyTheme = () => showTheme(localStorage.getItem("theme") ?? (system.matches ? "dark" : "light"));

  const toggleTheme = () => {
    const theme = root.dataset.bsTheme === "dark" ? "light" : "dark";
    const isSystemTheme = (theme === "dark") === system.matches;
    if (isSystemTheme) localStorage.removeItem("theme");
    else localStorage.setItem("theme", theme);
    applyTheme();
  };

  const applyZone = () => {
    const isUtc = localStorage.getItem("zone") === "UTC";
    root.dataset.zone = isUtc ? "UTC" : "Europe/Zurich";
    document.getElementById("zone-toggle")?.setAttribute("aria-checked", isUtc);
    dispatchEvent(new Event("zone"));
  };

  const toggleZone = () => {
    if (root.dataset.zone === "UTC") localStorage.removeItem("zone");
    else localStorage.setItem("zone", "UTC");
    applyZone();
  };

  const applyAll = () => {
    applyTheme();
    applyZone();
  };

  applyAll();
  system.addEventListener("change", applyTheme);
  addEventListener("storage", applyAll);
  // A page from the back and forward cache has missed the choices on the pages after it.
  addEventListener("pageshow", ({ persisted }) => persisted && applyAll());
  // The style sheet can't change what is drawn on a canvas.
  addEventListener("beforeprint", () => showTheme("light"));
  addEventListener("afterprint", applyTheme);
  addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme-toggle").addEventListener("click", toggleTheme);
    document.getElementById("zone-toggle").addEventListener("click", toggleZone);
    applyZone();
  });
})();
