// The server's clock, from the header Server-Time of its responses. Ages never depend on this computer's clock.

let offset = null;

/** Sets the clock from a Server-Time header (unix ms); the first time is announced by the event "clock". */
export function setClock(header) {
  if (!header) return;
  const isFirst = offset === null;
  offset = Number(header) - Date.now();
  if (isFirst) dispatchEvent(new Event("clock"));
}

/** The server's time in unix ms; null before the first response. */
export function now() {
  return offset === null ? null : Date.now() + offset;
}
