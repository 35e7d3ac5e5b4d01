// The reader's choices that hold for every page: light or dark theme, or else the system's, and the time zone. Paper is
// light. Runs before the first paint.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  // As in storage.js, of which a script that runs before the first paint can't be part.
  const unstored = new Map();
  const storedKey = (key) => root.dataset.storagePrefix + key;
  const stored = (key) => {
    if (unstored.has(key)) return unstored.get(key);
    try {
      return localStorage.getItem(storedKey(key));
    } catch {
      return null;
    }
  };
  const store = (key, text) => {
    try {
      if (text === null) localStorage.removeItem(storedKey(key));
      else localStorage.setItem(storedKey(key), text);
      unstored.delete(key);
    } catch {
      unstored.set(key, text);
    }
  };

  const showTheme = (theme) => {
    root.dataset.bsTheme = theme;
    dispatchEvent(new Event("theme"));
  };
  const applyTheme = () => {
    const chosen = stored("theme");
    showTheme(["dark", "light"].includes(chosen) ? chosen : system.matches ? "dark" : "light");
  };

  const toggleTheme = () => {
    const theme = root.dataset.bsTheme === "dark" ? "light" : "dark";
    const isSystemTheme = (theme === "dark") === system.matches;
    store("theme", isSystemTheme ? null : theme);
    applyTheme();
  };

  const applyZone = () => {
    const isUtc = stored("zone") === "UTC";
    root.dataset.zone = isUtc ? "UTC" : "Europe/Zurich";
    document.getElementById("zone-toggle")?.setAttribute("aria-checked", isUtc);
    dispatchEvent(new Event("zone"));
  };

  const toggleZone = () => {
    store("zone", root.dataset.zone === "UTC" ? null : "UTC");
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
