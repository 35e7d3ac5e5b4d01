// Formats of times, in the reader's time zone: that of the experiment, or UTC. A time that is not of today has its
// date, one that is not of this year its year. The server formats times by the same rules (web/pages/formatting.py).

import { now } from "./server_clock.js";

/** The time zone of the experiment. */
export const EXPERIMENT = "Europe/Zurich";
const UTC = "UTC";
const HOUR_MS = 60 * 60 * 1000;

const formatters = new Map(
  [EXPERIMENT, UTC].map((timeZone) => [
    timeZone,
    new Intl.DateTimeFormat("en-GB", {
      timeZone,
      hourCycle: "h23",
      day: "2-digit",
      month: "short",
      year: "numeric",
      hour: "2-digit",
      minute: "2-digit",
      second: "2-digit",
      timeZoneName: "short",
    }),
  ]),
);

/** The time zone that is shown; theme.js has set it before the first paint. */
export function zone() {
  return document.documentElement.dataset.zone === UTC ? UTC : EXPERIMENT;
}

/** The time zone that is not shown. */
export function otherZone() {
  return zone() === UTC ? EXPERIMENT : UTC;
}

/** Time of day, with the date if that is not today, e.g. `13:05:12` or `15 Sep 2022 13:05:12`. */
export function timeOfDay(ms) {
  const { parts, date } = split(ms);
  return [date, `${parts.hour}:${parts.minute}:${parts.second}`, zoneIfAmbiguous(ms)].filter(Boolean).join(" ");
}

/** Minute with the zone, and the date if that is not today, e.g. `15 Sep 13:05 CEST`. */
export function shortTime(ms) {
  const { parts, date } = split(ms);
  return [date, `${parts.hour}:${parts.minute}`, parts.timeZoneName].filter(Boolean).join(" ");
}

/** The date, with the year if that is not the present one; empty for today. */
export function dateUnlessToday(ms) {
  return split(ms).date;
}

/** Date and time with year and zone, e.g. `15 Sep 2022 13:05:12 CEST`. */
export function fullTime(ms, timeZone = zone()) {
  const parts = toParts(ms, timeZone);
  return `${dayOf(parts)} ${parts.year} ${parts.hour}:${parts.minute}:${parts.second} ${parts.timeZoneName}`;
}

/** Hour and minute, for the axis of a graph. */
export function hourAndMinute(ms) {
  const { hour, minute } = toParts(ms, zone());
  return `${hour}:${minute}`;
}

/** Seconds since midnight on the reader's clock. */
export function secondOfDay(ms) {
  const { hour, minute, second } = toParts(ms, zone());
  return 3600 * hour + 60 * minute + Number(second);
}

/** The zone's name at a time in an hour that comes twice, e.g. `CEST`; otherwise empty. */
export function zoneIfAmbiguous(ms) {
  return isAmbiguous(ms) ? toParts(ms, zone()).timeZoneName : "";
}

function split(ms) {
  const parts = toParts(ms, zone());
  const today = toParts(now() ?? Date.now(), zone());
  const isThisYear = parts.year === today.year;
  const isToday = isThisYear && dayOf(parts) === dayOf(today);
  return { parts, date: isToday ? "" : isThisYear ? dayOf(parts) : `${dayOf(parts)} ${parts.year}` };
}

function toParts(ms, timeZone) {
  const parts = Object.fromEntries(formatters.get(timeZone).formatToParts(ms).map(({ type, value }) => [type, value]));
  // Python's name of a month has three letters.
  return { ...parts, month: parts.month.slice(0, 3) };
}

const dayOf = ({ day, month }) => `${day} ${month}`;

// In the night of the change to winter time, an hour comes twice.
function isAmbiguous(ms) {
  const wall = (at) => fullTime(at).replace(/ \S+$/, "");
  return [ms - HOUR_MS, ms + HOUR_MS].some((at) => wall(at) === wall(ms));
}
