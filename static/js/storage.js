// Web storage. A browser may deny it, and it may be full. What can't be stored is remembered until the page is left. A
// host has one storage for all its sites, so the page's prefix is part of each key.

const unstored = new Map(); // by area and key

/** The key under which the browser stores a key. */
export const storedKey = (key) => document.documentElement.dataset.storagePrefix + key;

const nameOf = (area, key) => `${area} ${key}`;

/** The text of a key of "localStorage" or "sessionStorage"; null if there is none. */
export function readText(area, key) {
  const name = nameOf(area, key);
  if (unstored.has(name)) return unstored.get(name);
  try {
    return window[area].getItem(storedKey(key));
  } catch {
    return null;
  }
}

/** Stores a text, or removes the key for null. */
export function writeText(area, key, text) {
  try {
    if (text === null) window[area].removeItem(storedKey(key));
    else window[area].setItem(storedKey(key), text);
    unstored.delete(nameOf(area, key));
  } catch {
    unstored.set(nameOf(area, key), text);
  }
}

/** The value of a key that `writeJson` has stored; null for anything else. */
export function readJson(area, key) {
  try {
    return JSON.parse(readText(area, key));
  } catch {
    return null;
  }
}

/** Stores a value as JSON. */
export function writeJson(area, key, value) {
  writeText(area, key, JSON.stringify(value));
}
