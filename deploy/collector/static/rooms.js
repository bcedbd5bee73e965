// All rooms now: a card each, grouped by site; only cards that changed are drawn again.

import { announce, h, place } from "./dom.js";
import { answered, crowded, key, listen, now, rooms, standing } from "./live.js";
import { ago, clock, coverage, date, EMOTIONS, median, number, percent, seats, today, UNKNOWN } from "./words.js";

const FILTERS = [["all", "All"], ["live", "Reporting"], ["none", "No result"], ["silent", "Silent"]];
const SORTS = [["name", "Name"], ["value", "Index, lowest first"], ["coverage", "Coverage, lowest first"], ["heard", "Heard last"]];
const chosen = { filter: "all", sort: "name", search: "" };
const byName = new Intl.Collator(undefined, { numeric: true });

export function roomsView(main) {
  const cards = new Map();
  const sections = new Map();
  const empty = h("p.empty");
  let shown = new Set();
  const summary = h("p.summary", { role: "status" });
  const groups = h("div.groups");
  main.append(h("div.head", null, h("h1", null, "Rooms"), summary), controls(() => arrange()), reading(), groups);
  document.title = "Rooms";

  let dirty = new Set();
  let scheduled = false;
  function schedule(changed) {
    for (const room of changed) dirty.add(key(room));
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame(() => {
      scheduled = false;
      draw();
    });
  }

  function draw() {
    for (const name of cards.keys()) if (!rooms.has(name)) cards.delete(name); // the room was removed
    for (const name of dirty) {
      if (!rooms.has(name)) continue;
      if (!cards.has(name)) cards.set(name, h("a.card", { href: `#/room/${name}` }));
      fill(cards.get(name), rooms.get(name));
    }
    dirty = new Set();
    const wants = [...rooms.values()].filter(wanted);
    if (wants.length !== shown.size || !wants.every((room) => shown.has(key(room)))) arrange();
    else tell();
  }

  function arrange() {
    const list = [...rooms.values()].filter((room) => cards.has(key(room)) && wanted(room)).sort(order);
    shown = new Set(list.map(key));
    for (const room of list) entitle(cards.get(key(room)), room);
    const bySite = !list.length ? new Map() : chosen.sort === "name" ? group(list) : new Map([["", list]]);
    place(groups, bySite.size ? [...bySite].map(([site, members]) => section(site, members)) : [empty]);
    tell();
  }

  function section(site, members) {
    if (!sections.has(site)) sections.set(site, h("section", null, site && h("h2", null, site, h("span.count")), h("div.cards")));
    const found = sections.get(site);
    if (site) found.querySelector(".count").textContent = String(members.length);
    place(found.querySelector(".cards"), members.map((room) => cards.get(key(room))));
    return found;
  }

  function tell() {
    if (!rooms.size && !answered()) {
      empty.textContent = UNKNOWN;
      announce(summary);
      return;
    }
    empty.textContent = rooms.size ? "No room matches." : "No room has been heard yet. Start an agent, or try fer-collector demo.";
    const counts = { live: 0, degraded: 0, none: 0, silent: 0, unknown: 0 };
    for (const room of rooms.values()) counts[standing(room).id] += 1;
    const tallies = [tally(counts.live + counts.degraded, "reporting", "live"), tally(counts.none, "without a result", "none"), tally(counts.silent, "silent", "silent")];
    announce(summary, ...tallies, ...(counts.unknown ? [tally(counts.unknown, "unknown", "unknown")] : []));
  }

  const stop = listen(schedule);
  const timer = setInterval(() => {
    if (document.hidden) return;
    // Silence is not an event: look at the clock.
    for (const [name, card] of cards) if (rooms.has(name) && card.dataset.condition !== stamp(rooms.get(name))) dirty.add(name);
    draw();
    if (chosen.sort !== "name") arrange();
  }, 5000);
  dirty = new Set(rooms.keys());
  draw();
  arrange();
  return () => {
    stop();
    clearInterval(timer);
  };
}

const tally = (count, word, id) => h("span.tally", { "data-id": id }, h("b", null, String(count)), ` ${word}`);
const last = ({ window }) => (window ? (today(window.end_ms) ? clock(window.end_ms) : date(window.end_ms)) : "–");
const heard = (room) => (room.window_ms ? `${ago(now() - room.window_ms)} ago` : "");
// What of a card changes with the clock alone. (Where windows come, each brings a new time.)
const stamp = (room) => {
  const c = standing(room);
  return c.id + c.word + c.why + last(room) + (c.old ? heard(room) : "");
};

function group(list) {
  const found = new Map();
  for (const room of list) found.set(room.site, [...(found.get(room.site) ?? []), room]);
  return found;
}

function wanted(room) {
  const c = standing(room);
  const id = c.was ?? c.id;
  if (chosen.filter !== "all" && id !== chosen.filter && !(chosen.filter === "live" && id === "degraded")) return false;
  return key(room).includes(chosen.search);
}

function order(a, b) {
  // What is not of now comes after all that is.
  const last = (room) => (standing(room).old ? 2000 : 0);
  const value = (room) => (room.window?.engagement?.value ?? 1000) + last(room);
  if (chosen.sort === "value") return value(a) - value(b);
  if (chosen.sort === "coverage") return (coverage(a.window) ?? 2) + last(a) - (coverage(b.window) ?? 2) - last(b);
  if (chosen.sort === "heard") return (b.window_ms ?? 0) - (a.window_ms ?? 0);
  return byName.compare(key(a), key(b));
}

function controls(changed) {
  const search = h("input", { type: "search", placeholder: "Find a room", "aria-label": "Find a room", value: chosen.search, oninput: (e) => {
    chosen.search = e.target.value.trim().toLowerCase();
    changed();
  } });
  const filters = FILTERS.map(([id, word]) => h("button", { type: "button", "aria-pressed": String(chosen.filter === id), onclick: (e) => {
    chosen.filter = id;
    for (const other of e.target.parentNode.children) other.setAttribute("aria-pressed", String(other === e.target));
    changed();
  } }, word));
  const sort = h("select", { "aria-label": "Order", onchange: (e) => {
    chosen.sort = e.target.value;
    changed();
  } }, SORTS.map(([id, word]) => h("option", { value: id, selected: chosen.sort === id }, word)));
  return h("div.controls", null, search, h("div.segments", { role: "group", "aria-label": "Show" }, filters), sort);
}

function fill(card, room) {
  const state = standing(room);
  const w = room.window;
  card.dataset.id = state.id;
  card.dataset.condition = stamp(room);
  card.replaceChildren(
    h("div.card-head", null, h("h3"), h("span.pill", { "data-id": state.id }, state.word)),
    w?.engagement ? result(w.engagement, state.old) : h("p.nothing", null, h("span", null, "–"), h("small", null, state.why)),
    trend(room.trend ?? []),
    h("dl.facts", null, fact("People", number(seats(w))), fact("Coverage", percent(coverage(w))), fact("Last", last(room), heard(room))),
    w?.shares ? emotions(w.shares) : h("div.emotions.empty-bar", { "aria-hidden": "true" }));
  entitle(card, room);
}

// A room's name, with its site where no heading says it, and with the device where the room has several.
function entitle(card, room) {
  const name = chosen.sort === "name" ? room.room : `${room.site} / ${room.room}`;
  announce(card.querySelector("h3"), name, ...(crowded(room) ? [h("span.agent", null, ` ${room.agent}`)] : []));
  card.querySelector("h3").title = card.querySelector("h3").textContent;
}

// How to read a card.
function reading() {
  const entry = (name) => h("span.entry", null, h("i", { "data-ink": name }), name);
  return h("p.reading", null, h("span", null, "Engagement index, 0–100, with its 95 % interval"), h("span.legend", null, EMOTIONS.map(entry)));
}

const fact = (word, value, title) => h("div", { title }, h("dt", null, word), h("dd", null, value));

export function result(e, old) {
  const [low, high] = e.ci95 ?? [e.value, e.value];
  return h("div.result", { "data-old": old ? "1" : null },
    h("p.value", null, h("b", null, number(e.value)), e.ci95 && h("small", { title: "95 % interval" }, `${number(low)} – ${number(high)}`),
      e.delta !== null && e.delta !== undefined && h("small.delta", { title: "Difference from this room's own baseline" }, `${e.delta > 0 ? "+" : ""}${number(e.delta)} to its baseline`)),
    h("div.scale", { "aria-hidden": "true" },
      h("i.band", { css: { left: `${low}%`, width: `${Math.max(0.5, high - low)}%` } }), h("i.mark", { css: { left: `${e.value}%` } })));
}

// The newest windows, side by side whatever their time; the line breaks where one is missing or has no result.
function trend(points) {
  const steps = points.slice(1).map(([at], i) => at - points[i][0]);
  const far = 1.5 * median(steps);
  const size = [160, 30];
  let path = "";
  let open = false;
  points.forEach(([, value], i) => {
    if (value === null) {
      open = false;
      return;
    }
    if (steps[i - 1] > far || steps[i - 1] < 0) open = false; // a hole, or a clock that was set back
    const x = (i / Math.max(1, points.length - 1)) * size[0];
    const y = size[1] - 2 - (value / 100) * (size[1] - 4);
    path += `${open ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}${open ? "" : "h0"}`; // one that stands alone is a dot
    open = true;
  });
  return h("svg.trend", { viewBox: `0 0 ${size[0]} ${size[1]}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    h("line", { x1: 0, x2: size[0], y1: size[1] / 2, y2: size[1] / 2 }), path && h("path", { d: path }));
}

export function emotions(shares) {
  const words = EMOTIONS.filter((name) => shares[name] >= 0.03).map((name) => `${name} ${percent(shares[name])}`).join(", ");
  return h("div.emotions", { role: "img", "aria-label": `Emotions: ${words}`, title: words },
    EMOTIONS.map((name) => h("i", { "data-emotion": name, css: { "flex-grow": shares[name] } })));
}
