// Requests of scripts, with a time limit: a page must not wait for a server or a network that does not respond.

const TIMEOUT_MS = 10_000;

/** Requests a URL; the response, or null without a successful one. Its body has the same time limit. */
export async function request(url) {
  const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) }).catch(() => null);
  return response?.ok ? response : null;
}

/** Requests JSON; its value, or null without a complete one. */
export async function fetchJson(url) {
  const response = await request(url);
  return response && response.json().catch(() => null);
}
