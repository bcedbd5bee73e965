// The devices: what each says of its own health.

import { announce, h, place } from "./dom.js";
import { fetchJson, key, listen, now, rooms, standing } from "./live.js";
import { ago, number } from "./words.js";

const COLUMNS = ["Room", "State", "Heard", "Frames/s", "Detect ms", "Classify ms", "Unconfirmed", "Temp. °C", "Memory MB", "Backend", "Model", "Version"];
const byName = new Intl.Collator(undefined, { numeric: true });

export function devicesView(main) {
  document.title = "Devices";
  main.classList.add("wide");
  const body = h("tbody");
  const rows = new Map();
  const counters = h("p.summary"); // no live region: it changes all the time
  const table = h("table", null, h("thead", null, h("tr", null, COLUMNS.map((word) => h("th", { scope: "col" }, word)))), body);
  main.append(h("div.head", null, h("h1", null, "Devices"), counters), h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Devices" }, table));

  let waiting = null;
  function draw() {
    clearTimeout(waiting);
    waiting = null;
    const list = [...rooms.values()].sort((a, b) => byName.compare(key(a), key(b)));
    for (const name of rows.keys()) if (!rooms.has(name)) rows.delete(name);
    place(body, list.map((room) => {
      if (!rows.has(key(room))) rows.set(key(room), row(room));
      return fill(rows.get(key(room)), room);
    }));
  }
  const stop = listen(() => (waiting ??= setTimeout(draw, 500)));
  async function count() {
    const stats = await fetchJson("/api/stats").catch(() => null);
    if (stats?.received === undefined) return;
    announce(counters, `${stats.stored ?? 0} windows stored · ${stats.duplicates ?? 0} duplicates met · ${stats.refused ?? 0} messages refused since this collector started`);
  }
  const timer = setInterval(() => {
    if (document.hidden) return;
    draw(); // a device that died says nothing: look at the clock
    count();
  }, 5000);
  draw();
  count();
  return () => {
    stop();
    main.classList.remove("wide");
    clearInterval(timer);
    clearTimeout(waiting);
  };
}

function row(room) {
  return h("tr", null, h("th", { scope: "row" }, h("a", { href: `#/room/${key(room)}` }, `${room.site} / ${room.room}`), h("span.agent", null, ` ${room.agent}`)), COLUMNS.slice(1).map(() => h("td")));
}

// Sets what is another text now, and nothing else: focus and selection stay.
function fill(tr, room) {
  const state = standing(room);
  const health = room.health ?? {};
  const model = room.window?.model ?? room.meta?.model ?? {};
  const ms = (stage) => number(health.stages?.[stage]?.p95, 0);
  const heard = Math.max(room.window_ms ?? 0, room.health_ms ?? 0, room.status_ms ?? 0);
  const cells = [
    state.was ? state.why : state.why ? `${state.word}: ${state.why}` : state.word,
    heard ? `${ago(now() - heard)} ago` : "–",
    number(health.fps, 1), ms("detect"), ms("classify"), health.spool_windows ?? "–",
    number(health.temperature_c, 0), number(health.rss_mb, 0),
    health.backend ?? model.backend ?? "–", model.id ?? "–", room.meta?.version ?? "–",
  ];
  tr.dataset.id = state.id;
  cells.forEach((cell, i) => announce(tr.cells[i + 1], String(cell)));
  return tr;
}
