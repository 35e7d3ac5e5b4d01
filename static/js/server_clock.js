// The server's clock, as far as its answers tell. Ages are computed by it, never by this computer's own.

let ahead = null;

/** Takes the server's time from an answer (its header Server-Time, unix ms). */
export function learn(header) {
  if (header) ahead = Number(header) - Date.now();
}

/** The server's time in unix ms; null as long as no answer has told it. */
export function now() {
  return ahead === null ? null : Date.now() + ahead;
}
