// The newest state of every room: loaded once, then kept by server-sent events. And when no room could be heard.

import { condition } from "./words.js";

const LINGER_MS = 5000; // that a hidden page keeps its connection
const FETCH_MS = 30000; // that an answer may take
// Without a word of the server for so long the connection is dead, though nobody said so: it sends one each 15 s.
export const patience = { quiet: 35000 };
const CHECK_MS = 2000;
const SAME_TROUBLE_MS = 10 * 60000; // between two troubles that are one: it comes and goes

export const rooms = new Map();
const devices = new Map(); // how many a room has, by site/room
const listeners = new Set();
const loads = new Set();
let skew = 0;
let loaded = false;
let say = () => {};
let source = null;
let heardAt = 0; // when the server said something last, or was asked to; the clock of this page, which nobody sets
let lostAt = -Infinity; // since when this page may have missed something; null while it misses nothing
let trouble = {}; // of the collector, as it said last
let told = 0; // how often it said so by itself
let deaf = { from: Infinity, until: -Infinity }; // when the collector could not hear or keep what rooms say

export const now = () => Date.now() + skew;
export const key = (room) => `${room.site}/${room.room}/${room.agent}`;
const place = (room) => `${room.site}/${room.room}`;
// Whether there is another device in the same room: then the room's name does not tell them apart.
export const crowded = (room) => devices.get(place(room)) > 1;
// Whether the server has said which rooms there are: an answer while the database is away does not.
export const answered = () => loaded && !trouble.database;
const quiet = () => performance.now() - heardAt;
// What the page missed since began with the last word, also while it is not sure yet that the connection is dead.
const missingSince = () => lostAt ?? (quiet() > 0.6 * patience.quiet ? now() - quiet() : null);

export function standing(room) {
  const since = missingSince();
  return condition(room, now(), since === null ? deaf : { from: beginning(since), until: Infinity });
}

export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export async function fetchJson(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" }, signal: AbortSignal.timeout(FETCH_MS) });
  if (answer.status === 401) location.assign(`/login${location.hash}`);
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error ?? `HTTP ${answer.status}`);
  return answer.json();
}

function add(room) {
  if (!rooms.has(key(room))) devices.set(place(room), (devices.get(place(room)) ?? 0) + 1);
  rooms.set(key(room), room);
}

function remove(name) {
  const where = place(rooms.get(name));
  devices.set(where, devices.get(where) - 1);
  rooms.delete(name);
}

function take(changed) {
  changed.forEach(add);
  for (const listener of listeners) listener(changed);
}

export async function loadAll() {
  const heard = new Set(); // while the answer was under way: newer than what it says
  const before = told;
  loads.add(heard);
  try {
    const answer = await fetchJson("/api/rooms");
    skew = answer.now - Date.now();
    loaded = true;
    if (answer.trouble && told === before) suffer(answer.trouble);
    if (source?.readyState === EventSource.OPEN) lostAt = null;
    const there = new Set(answer.rooms.map(key));
    for (const name of rooms.keys()) if (!there.has(name) && !heard.has(name)) remove(name);
    take(answer.rooms.filter((room) => !heard.has(key(room))));
  } finally {
    loads.delete(heard);
  }
}

const beginning = (at) => (now() - deaf.until < SAME_TROUBLE_MS ? deaf.from : at);

function suffer(said) {
  const away = said.broker || said.database;
  if (away && deaf.until !== Infinity) deaf = { from: beginning(lostAt ?? now()), until: Infinity };
  if (!away && deaf.until === Infinity) deaf.until = now();
  trouble = said;
}

function tell() {
  say(lostAt !== null ? "lost" : trouble.database ? "database" : trouble.broker ? "broker" : "live");
}

function lose(since = now()) {
  lostAt ??= since;
  tell();
}

function load() {
  loadAll().then(tell, () => {
    lose();
    setTimeout(() => source && load(), 3000);
  });
}

// A browser allows six connections to a server, over all tabs: a page that nobody sees gives its own back.
export function connect(show) {
  say = show;
  let soon = null;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(soon);
    if (document.hidden) soon = setTimeout(close, LINGER_MS);
    else if (!source) open();
  });
  if (!document.hidden) open();
  setInterval(() => {
    if (!source || quiet() < patience.quiet) return;
    lose(now() - quiet());
    close();
    open();
  }, CHECK_MS);
}

function close() {
  source?.close();
  source = null;
  lostAt ??= now(); // not told: there is nobody to read it
}

function open() {
  const mine = (source = new EventSource("/api/live"));
  heardAt = performance.now();
  for (const name of ["hello", "tick", "reload", "rooms", "trouble"]) mine.addEventListener(name, () => (heardAt = performance.now()));
  mine.addEventListener("hello", load);
  mine.addEventListener("reload", load);
  mine.addEventListener("rooms", (event) => {
    const changed = JSON.parse(event.data);
    for (const heard of loads) for (const room of changed) heard.add(key(room));
    take(changed);
  });
  mine.addEventListener("trouble", (event) => {
    told += 1;
    suffer(JSON.parse(event.data));
    tell();
    take([...rooms.values()]);
  });
  mine.addEventListener("error", () => {
    lose();
    // A refused stream is not tried again by the browser: a login that ran out, or a restart.
    const again = () => mine === source && open();
    if (mine.readyState === EventSource.CLOSED) setTimeout(() => fetchJson("/api/stats").then(again, again), 3000);
  });
}
