// The reader's choices that hold for every page: light or dark theme, or else the system's, and the time zone.
// Runs before the first paint.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  const applyTheme = () => {
    root.dataset.bsTheme = localStorage.getItem("theme") ?? (system.matches ? "dark" : "light");
    dispatchEvent(new Event("theme"));
  };

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
  addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme-toggle").addEventListener("click", toggleTheme);
    document.getElementById("zone-toggle").addEventListener("click", toggleZone);
    applyZone();
  });
})();
