// The newest state of every room: loaded once, then kept by server-sent events.

export const rooms = new Map();
const listeners = new Set();
const loads = new Set();
let skew = 0;

export const now = () => Date.now() + skew;
export const key = (room) => `${room.site}/${room.room}/${room.agent}`;

export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export async function fetchJson(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (answer.status === 401) location.assign("/login");
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error ?? `HTTP ${answer.status}`);
  return answer.json();
}

function take(changed) {
  for (const room of changed) rooms.set(key(room), room);
  for (const listener of listeners) listener(changed);
}

export async function loadAll() {
  const heard = new Set(); // while the answer was under way: newer than what it says
  loads.add(heard);
  try {
    const answer = await fetchJson("/api/rooms");
    skew = answer.now - Date.now();
    const there = new Set(answer.rooms.map(key));
    for (const name of rooms.keys()) if (!there.has(name) && !heard.has(name)) rooms.delete(name);
    take(answer.rooms.filter((room) => !heard.has(key(room))));
  } finally {
    loads.delete(heard);
  }
}

export function connect(say) {
  const source = new EventSource("/api/live");
  source.addEventListener("hello", () => {
    say("live");
    loadAll().catch(() => say("lost"));
  });
  source.addEventListener("rooms", (event) => {
    say("live");
    const changed = JSON.parse(event.data);
    for (const heard of loads) for (const room of changed) heard.add(key(room));
    take(changed);
  });
  source.addEventListener("reload", () => loadAll().catch(() => say("lost")));
  source.addEventListener("error", () => {
    say("lost");
    // A refused stream is not tried again by the browser: a login that ran out, or a restart.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => fetchJson("/api/stats").then(() => connect(say), () => connect(say)), 3000);
  });
}
