// One room: now, over time, what happened, and what made its numbers.

import { chart, PANELS } from "./charts.js";
import { announce, h } from "./dom.js";
import { answered, fetchJson, key, listen, now, rooms, standing } from "./live.js";
import { emotions, result } from "./rooms.js";
import { amount, shape } from "./shape.js";
import { ago, clock, coverage, dayClock, EMOTIONS, far, HOUR, number, percent, reason, seats, signed, stretch, today, UNKNOWN, when } from "./words.js";

const RANGES = [["1 h", HOUR], ["8 h", 8 * HOUR], ["Day", 24 * HOUR], ["Week", 7 * 24 * HOUR], ["Month", 31 * 24 * HOUR], ["Year", 366 * 24 * HOUR]];
// How old a chart may be, ms: a minute, or what is less than a pixel of it.
const stale = (length) => Math.min(HOUR, Math.max(60000, length / 2000));

export function roomView(main, site, name, agent) {
  const id = `${site}/${name}/${agent}`;
  const path = `/api/rooms/${[site, name, agent].map(encodeURIComponent).join("/")}`;
  document.title = name;
  let length = 8 * HOUR;
  let end = null; // null follows the present
  let current = null;
  let charts = [];
  let selected = null;
  let held = null; // the moment that keys chose, ms; it stays chosen while the charts move on below it
  let loading = 0;
  let loadedAt = 0;

  const present = h("section.present", { "aria-label": "Now" });
  const readout = h("p.readout", { role: "status", "aria-live": "polite" });
  const missing = h("p.key");
  const shown = h("span.shown");
  const places = PANELS.map((panel) => h("figure.panel", null, h("figcaption", null, panel.title, legend(panel.id)),
    // A role whose keys screen readers leave to the page: to "img" no arrow key would come.
    h("div.plot", { tabindex: 0, role: "application", "aria-roledescription": "chart", "aria-label": `${panel.title}. Arrow keys move from window to window.`, "data-panel": panel.id, onkeydown: onKey, onpointermove: release, onpointerdown: release })));
  const past = h("section.past", { "aria-label": "Over time" });
  const happened = h("section.happened");
  const state_ = h("p.state");
  main.append(h("div.head", null, h("p.crumb", null, h("a", { href: "#/" }, "Rooms"), ` / ${site}`, h("span.agent", null, ` · ${agent}`)), h("h1", null, name), state_), present, past, happened);
  const listed = table();
  past.append(ranges(), readout, missing, ...places, listed);

  function ranges() {
    const buttons = RANGES.map(([word, ms]) => h("button", { type: "button", "data-ms": ms, onclick: () => go(ms, null) }, word));
    const shift = (by) => () => go(length, Math.min(now(), (end ?? now()) + by * length));
    return h("div.controls", null, h("div.segments", { role: "group", "aria-label": "Range" }, buttons),
      h("div.segments", { role: "group", "aria-label": "Move" }, h("button", { type: "button", "aria-label": "Earlier", onclick: shift(-0.5) }, "←"),
        h("button", { type: "button", "data-now": "1", onclick: () => go(length, null) }, "Now"), h("button", { type: "button", "aria-label": "Later", onclick: shift(0.5) }, "→")),
      shown, h("span.exports", null, [["csv", "CSV"], ["parquet", "Parquet"]].map(([kind, word]) => h("a", { "data-kind": kind, download: `${site}-${name}-${agent}.${kind}` }, word))));
  }

  function go(ms, until) {
    length = ms;
    end = until !== null && until < now() - 1000 ? Math.round(until) : null;
    selected = null;
    release();
    load();
  }

  function release() {
    held = null;
  }

  async function load() {
    const mine = ++loading;
    loadedAt = Date.now();
    const to = Math.round(end ?? now() + 1);
    const query = `?from=${Math.max(0, Math.round(to - length))}&to=${to}`;
    try {
      const [series, about] = await Promise.all([fetchJson(`${path}/series${query}`), fetchJson(`${path}/about${query}`)]);
      if (mine !== loading) return;
      const room = rooms.get(id);
      // Its windows come, and are not of this time.
      const elsewhere = room && !series.t.length && far(room) ? room.window.end_ms : null;
      current = { series, shaped: shape(series, now()), elsewhere };
      draw();
      drawHappened(about);
    } catch (error) {
      if (mine !== loading) return; // what was asked for later is there, or will be
      loadedAt = 0; // soon again: what was there before is another range, perhaps
      announce(readout, `Could not load: ${error.message}. Trying again.`);
    }
  }

  function draw() {
    for (const button of past.querySelectorAll("[data-ms]")) button.setAttribute("aria-pressed", String(Number(button.dataset.ms) === length));
    past.querySelector("[data-now]").setAttribute("aria-pressed", String(end === null));
    const { from, to } = current.series;
    announce(shown, stretch(from, to));
    for (const link of past.querySelectorAll("[data-kind][download]")) link.href = `/export.${link.dataset.kind}?${new URLSearchParams({ site, room: name, agent, from, to })}`;
    if (charts[0]?.lanes !== current.shaped.lanes) clear();
    if (charts.length) for (const c of charts) c.update();
    else charts = PANELS.map((panel, i) => chart(panel, places[i].querySelector(".plot"), id, () => current, (index) => {
      if (held !== null) return; // the same place, and another moment
      selected = index ?? null;
      say();
    }, (from, to) => go(Math.max(5 * 60000, to - from), to)));
    if (held !== null) stay();
    missing.replaceChildren(...missed(current));
    if (listed.open) fillTable();
    say();
  }

  function clear() {
    for (const c of charts) c.destroy();
    charts = [];
    release();
  }

  // Of a bucket its beginning: its middle moves as windows come.
  const moment = (at) => current.series.t[current.shaped.rows[at]] ?? current.shaped.t[at];

  function point(left) {
    charts[0].plot.setCursor({ left, top: 20 });
  }

  function stay() {
    const far = (at) => Math.abs(moment(at) - held);
    if (held < current.series.from) {
      release();
      point(-10); // nothing is chosen any more
    } else {
      selected = current.shaped.stops.reduce((a, b) => (far(b) < far(a) ? b : a));
      point(place(selected));
    }
  }

  const place = (at) => charts[0].plot.valToPos(current.shaped.t[at] / 1000, "x");

  function say() {
    const { series, shaped } = current;
    let index = selected;
    if (index === null || index >= shaped.rows.length) index = shaped.stops.findLast((at) => shaped.rows[at] !== null);
    if (index === undefined) {
      announce(readout, "No window in this range", current.elsewhere === null ? "." : `: this device's windows carry another date, ${dayClock(current.elsewhere)}. Set its clock.`);
      return;
    }
    const row = shaped.rows[index];
    const at = shaped.t[index];
    const time = series.step || length > 26 * HOUR ? dayClock(at) : when(at);
    if (row === null) announce(readout, h("b", null, time), " No data: no window arrived.");
    else if (!series.results[row]) announce(readout, h("b", null, time), ` No result: ${reasons(series.suppressed[row]) || "every window was suppressed"}.`);
    else announce(readout, h("b", null, time), ` Index ${number(series.engagement[row])}`, series.ci_low[row] === null ? "" : ` (${number(series.ci_low[row])} – ${number(series.ci_high[row])})`,
      `, ${number(series.seats[row])} people, coverage ${percent(series.coverage[row])}`,
      series.valence[row] === null ? "" : `, valence ${signed(series.valence[row])}, arousal ${signed(series.arousal[row])}`,
      series.step ? `. Mean of ${series.windows[row]} window${series.windows[row] === 1 ? "" : "s"}, ${series.results[row]} with a result; the interval is the mean of theirs.` : ".",
      shaped.missing[row] ? ` No window for ${ago(shaped.missing[row])} of this time.` : "");
  }

  function onKey(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
    const step = steps[event.key];
    if (step === undefined || !current?.shaped.stops.length) return;
    event.preventDefault();
    const { stops, rows } = current.shaped;
    const last = stops.length - 1;
    // A click may have chosen the end of a dash: that is at its row's stop, too.
    const here = selected === null ? last : stops.findIndex((at) => at === selected || (rows[at] !== null && rows[at] === rows[selected]));
    const index = stops[Math.min(last, Math.max(0, (here < 0 ? last : here) + step))];
    held = index === stops[last] ? null : moment(index);
    point(place(index));
    selected = index;
    say();
  }

  function fillTable() {
    listed.querySelector("tbody").replaceChildren(...tableRows(current));
  }

  function table() {
    const words = ["Time", "Index", "95 % interval", "People", "Coverage", "Valence", "Arousal", "Note"];
    return h("details.table", { ontoggle: (event) => event.target.open && current && fillTable() },
      h("summary", null, "The same as a table"), h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Windows" }, h("table", null, h("thead", null, h("tr", null, words.map((word) => h("th", { scope: "col" }, word)))), h("tbody"))));
  }

  function drawHappened(about) {
    const happenings = [...about.events.map((e) => [e.at, e.kind, e.kind === "gap" ? lostWords(e.missing, e.body.reason) : [reason(e.body.reason), e.body.detail].filter(Boolean).join(", ")]),
      ...about.lost.map((l) => [l.at, "gap", lostWords(l.missing, l.reason)])].sort((a, b) => b[0] - a[0]);
    const makers = about.made_by.map((made) => [["Model", made.model_id], ["Runs on", made.backend], ["Weights", made.weights_id], ["Calibration", made.calibration_id ?? "none"], ["Clock", made.clock_source], ["Model SHA-256", made.model_sha256],
      ["Until", about.made_by.length > 1 && when(made.until)]]);
    happened.replaceChildren(
      h("div", null, h("h2", null, "What happened"), happenings.length ? h("ol.events", null, happenings.slice(0, 50).map(([at, kind, text]) => h("li", null, h("time", null, dayClock(at)), h("b", null, kind), ` ${text}`))) : h("p.quiet-text", null, "Nothing in this range.")),
      h("div", null, h("h2", null, "What made the numbers"), makers.length ? makers.map((rows) => h("dl.made", null, rows.filter(([, v]) => v).map(([word, value]) => h("div", null, h("dt", null, word), h("dd", null, value))))) : h("p.quiet-text", null, "Nothing in this range.")));
  }

  function drawPresent() {
    const room = rooms.get(id);
    if (!room) return present.replaceChildren(h("p.empty", null, answered() ? "This room has not been heard." : UNKNOWN));
    const state = standing(room);
    const w = room.window;
    present.dataset.id = state.id;
    state_.replaceChildren(h("span.pill", { "data-id": state.id }, state.word), state.why && ` ${state.why}`);
    present.replaceChildren(
      w?.engagement ? result(w.engagement, state.old) : h("p.nothing", null, h("span", null, "–"), h("small", null, state.why)),
      h("dl.facts", null, [["People", seats(w) ?? "–"], ["Coverage", percent(coverage(w))], ["Window", w ? (today(w.end_ms) ? `${clock(w.start_ms)} – ${clock(w.end_ms)}` : stretch(w.start_ms, w.end_ms)) : "–"], ["Heard", room.window_ms ? `${ago(now() - room.window_ms)} ago` : "–"]].map(([word, value]) => h("div", null, h("dt", null, word), h("dd", null, String(value))))),
      w?.shares ? emotions(w.shares) : "");
    return undefined;
  }

  let soon = null;
  const stop = listen((changed) => {
    if (!changed.some((room) => key(room) === id)) return;
    drawPresent();
    if (end === null && length <= 24 * HOUR) soon ??= setTimeout(() => {
      soon = null;
      load();
    }, 500);
  });
  const clockTimer = setInterval(() => {
    if (document.hidden) return;
    drawPresent();
    // An outage sends nothing to draw it by, a long range is drawn anew only here, and windows of the past come late.
    if (Date.now() - loadedAt >= stale(length)) load();
  }, 5000);
  const rebuild = () => {
    clear();
    if (current) draw();
  };
  document.addEventListener("themed", rebuild);
  const sized = new ResizeObserver(() => {
    for (const c of charts) c.resize();
  });
  sized.observe(past);
  drawPresent();
  load();
  return () => {
    stop();
    clearInterval(clockTimer);
    clearTimeout(soon);
    document.removeEventListener("themed", rebuild);
    sized.disconnect();
    clear();
    loading = -1;
  };
}

function legend(id) {
  const entry = (color, word, kind = "") => h("span.entry", null, h("i", { "data-ink": color, "data-kind": kind }), word);
  if (id === "people") return h("span.legend", null, entry("people", "people"), entry("coverage", "coverage", "dash"));
  if (id === "affect") return h("span.legend", null, entry("accent", "valence"), entry("people", "arousal", "dash"));
  if (id === "emotions") return h("span.legend", null, EMOTIONS.map((name) => entry(name, name)));
  return null;
}

// What of a declared loss is not stored, and why. That an agent has them no more does not say that nobody has.
function lostWords(missing, why) {
  const parts = missing.map(([first, last]) => (first === last ? `${first}` : `${first} to ${last}`));
  const more = parts.length > 5 ? `, and ${parts.length - 5} more stretches` : "";
  const gone = why === "not_kept" || why === "unanswered" ? "are not here" : "do not exist";
  return `windows ${parts.slice(0, 5).join(", ")}${more} ${gone}: ${reason(why)}`;
}

// One code, none, or several of them, in words.
const reasons = (codes) => [...new Set([codes ?? []].flat().map((code) => reason(code)).filter(Boolean))].join(", ");

// Says what is hatched, and how much of it there is.
function missed({ series, shaped: { holes, suppressed } }) {
  const why = reasons(series.suppressed.flat());
  const entry = (kind, word, list) => h("span.entry", null, h("i.swatch", { "data-kind": kind }), list.length ? `${word}: ${ago(amount(list))}` : `${word}: none`);
  return [entry("hole", "No data (no window arrived)", holes), entry("none", `No result (suppressed${why && `: ${why}`})`, suppressed)];
}

function tableRows({ series, shaped }) {
  return shaped.stops.map((at) => [shaped.rows[at], shaped.t[at]]).reverse().map(([row, t]) => {
    const cells = row === null ? ["–", "–", "–", "–", "–", "–", "no data"]
      : [number(series.engagement[row]), series.ci_low[row] === null ? "–" : `${number(series.ci_low[row])} – ${number(series.ci_high[row])}`, number(series.seats[row]), percent(series.coverage[row]),
        number(series.valence[row], 2), number(series.arousal[row], 2), series.results[row] ? "" : reasons(series.suppressed[row]) || "suppressed"];
    return h("tr", null, h("th", { scope: "row" }, dayClock(t)), cells.map((cell) => h("td", null, cell)));
  });
}
