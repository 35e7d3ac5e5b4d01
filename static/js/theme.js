// Light or dark theme: the reader's choice, or else the system's. Runs before the first paint.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  const apply = () => {
    root.dataset.bsTheme = localStorage.getItem("theme") ?? (system.matches ? "dark" : "light");
    dispatchEvent(new Event("theme"));
  };

  const toggle = () => {
    const theme = root.dataset.bsTheme === "dark" ? "light" : "dark";
    const isSystemTheme = (theme === "dark") === system.matches;
    if (isSystemTheme) localStorage.removeItem("theme");
    else localStorage.setItem("theme", theme);
    apply();
  };

  apply();
  system.addEventListener("change", apply);
  addEventListener("storage", apply);
  addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme-toggle").addEventListener("click", toggle);
  });
})();
