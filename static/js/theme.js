// Light or dark: what the reader chose, else what the system says. Runs before the page is drawn.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  const chosen = () => localStorage.getItem("theme");
  const apply = () => {
    root.dataset.bsTheme = chosen() ?? (system.matches ? "dark" : "light");
    dispatchEvent(new Event("theme"));
  };

  const change = () => {
    const other = root.dataset.bsTheme === "dark" ? "light" : "dark";
    const isSystems = (other === "dark") === system.matches;
    if (isSystems) localStorage.removeItem("theme");
    else localStorage.setItem("theme", other);
    apply();
  };

  apply();
  system.addEventListener("change", apply);
  addEventListener("storage", apply);
  addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme-toggle").addEventListener("click", change);
  });
})();
