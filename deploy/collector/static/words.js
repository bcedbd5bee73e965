// Numbers, times and reason codes in words.

export const EMOTIONS = ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"];

export const UNKNOWN = "Waiting for the collector's answer.";

const REASONS = {
  k_min: "too few people for a result",
  budget: "privacy budget of the day is spent",
  invalid: "the numbers made no sense",
  paused: "sensing is paused",
  schedule: "outside the hours of the schedule",
  "camera.absent": "camera is not there",
  "camera.lost": "camera is not there",
  "camera.back": "camera is back",
  "camera.stalled": "camera gives no pictures",
  "camera.frozen": "camera picture is frozen",
  "camera.black": "camera picture is black",
  "camera.covered": "camera is covered",
  "camera.overexposed": "camera picture is overexposed",
  "camera.resized": "camera picture changed its size; calibrate again",
  "thermal.hot": "too hot, so it looks less often",
  "thermal.under-voltage": "the power supply is too weak, so it looks less often",
  "thermal.normal": "as often as configured again",
  "clock.step": "the clock was set",
  cap: "the device's store was full",
  age: "too old to keep",
  disk_full: "the device's disk was full",
  dropped: "given up by a person at the device",
  corrupt: "damaged on the device",
  crash: "the device crashed while the window was open",
  not_kept: "the device has them no more",
  unanswered: "lost, nobody could send it again",
  installed: "a new model was installed",
  refused: "a new model was refused",
  backend: "something else computes now",
  duplicate_identity: "another device has the same id",
};

export const reason = (code) => REASONS[code] ?? String(code ?? "");
export const percent = (share) => (share === null || share === undefined ? "–" : `${Math.round(100 * share)} %`);
export const number = (value, digits = 0) => (value === null || value === undefined ? "–" : value.toFixed(digits));
export function median(values) {
  const sorted = values.filter((v) => v > 0).sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

// What a window says of people, null where it says nothing: without a result coverage is 0 whatever was seen, and with
// the camera off or blind so are the seats.
const LOOKED = new Set([null, undefined, "k_min", "budget", "invalid"]);
export const seats = (window) => (window && LOOKED.has(window.suppressed) ? window.seats : null);
export const coverage = (window) => (window && !window.suppressed ? window.coverage : null);
export const signed = (value) => (value > 0 ? "+" : value < 0 ? "−" : "±") + Math.abs(value).toFixed(2);

export const HOUR = 3600000;
const hourMinute = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const clockFormat = new Intl.DateTimeFormat(undefined, hourMinute);
const zoneFormat = new Intl.DateTimeFormat(undefined, { ...hourMinute, timeZoneName: "short" });
const day = { day: "numeric", month: "short" };
const moment = { weekday: "short", ...day, ...hourMinute };
// Without the year, and with it: said where it is not this one.
const formats = (parts) => [parts, { ...parts, year: "numeric" }].map((some) => new Intl.DateTimeFormat(undefined, some));
const [dayFormats, dateFormats] = [formats(moment), formats(day)];
const yearOf = (ms) => new Date(ms).getFullYear();
const fit = (pair, ...times) => pair[Number(times.some((ms) => yearOf(ms) !== yearOf(Date.now())))];
export const today = (ms) => new Date(ms).toDateString() === new Date().toDateString();
export const date = (ms) => fit(dateFormats, ms).format(ms);
// Which of the two it is, in the hour that autumn has twice.
const zoned = (ms, time) =>
  [ms - HOUR, ms + HOUR].some((other) => clockFormat.format(other) === clockFormat.format(ms))
    ? `${time} ${zoneFormat.formatToParts(ms).find((part) => part.type === "timeZoneName").value}`
    : time;
export const clock = (ms) => zoned(ms, clockFormat.format(ms));
export const dayClock = (ms) => zoned(ms, fit(dayFormats, ms).format(ms));
export const when = (ms) => (today(ms) ? clock(ms) : dayClock(ms));
export const stretch = (from, to) => fit(dayFormats, from, to).formatRange(from, to);

export function ago(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
}

// How long a window of this room is, ms. The last one says it only where no stop or start cut it short.
function windowLength({ meta, window }) {
  if (meta?.window_s) return meta.window_s * 1000;
  return window && !window.partial ? Math.max(1000, window.end_ms - window.start_ms) : 60000;
}

// Whether the times of a room's windows are no times at which they can have been made: further from when they came than
// a delay is. A synchronised clock may be late for one: what waited somewhere comes late.
const FAR_MS = 10 * 60000;
const unset = ({ window }) => window.clock?.synced === false;
export function far(room) {
  const ahead = room.window ? room.window.end_ms - room.window_ms : 0;
  return ahead > FAR_MS || (ahead < -FAR_MS && unset(room));
}
const clockTrouble = (room) => (unset(room) ? "its clock is not set" : far(room) ? "its clock is ahead of the collector's" : "");

// What a room said last, taken by itself.
function lastWords(room) {
  const { status, window } = room;
  const also = (...why) => [...why, clockTrouble(room)].filter(Boolean).join(", ");
  if (window.suppressed) return { id: "none", word: "No result", why: also(reason(window.suppressed)) };
  if (status?.state === "degraded") return { id: "degraded", word: "Degraded", why: also(reason(status.reason)) };
  if (far(room)) return { id: "degraded", word: "Wrong clock", why: also() };
  return { id: "live", word: "Live", why: also() };
}

// What a room's newest messages mean now. `old`: its last result is not of now. `blind` is when no room could be heard,
// for a reason that is not the room's: whoever fell silent in that time is not to blame until it could speak again.
export function condition(room, now, blind = { from: Infinity, until: -Infinity }) {
  const state = room.status?.state;
  if (state === "lost") return { id: "silent", old: true, word: "Lost", why: "the device went away" };
  if (state === "disconnected") return { id: "silent", old: true, word: "Off", why: "the device was stopped" };
  if (state === "paused") return { id: "none", old: true, word: "Paused", why: reason(room.status.reason ?? "paused") };
  if (!room.window) return { id: "silent", old: true, word: "Waiting", why: "no window yet" };
  const patience = 3 * windowLength(room) + 10000;
  const due = room.window_ms + patience;
  const last = lastWords(room);
  if (now <= due) return last;
  const age = ago(now - room.window_ms);
  if (due < blind.from || now > blind.until + patience) return { id: "silent", old: true, word: "Silent", why: `no window for ${age}` };
  return { id: "unknown", was: last.id, old: true, word: `${age} ago`, why: `last words: ${[last.word.toLowerCase(), last.why].filter(Boolean).join(", ")}` };
}
