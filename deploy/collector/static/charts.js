// The charts of one room: index with its interval, people and coverage, emotions, valence and arousal.
// Time without a window, and windows without a result, are drawn as what they are: hatched by their share, never a line.

import uPlot from "/static/vendor/uPlot.js";
import { clock, date, EMOTIONS, today } from "./words.js";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// The values of one line: null breaks it, undefined is another line's moment.
const pick = ({ rows, drawn, lane }, column, mine) => rows.map((row, i) => (lane[i] !== null && lane[i] !== mine ? undefined : drawn[i] && column ? column[row] : null));
// People are known where the camera looked, also without a result.
const seen = ({ rows, drawn, lane }, series, mine) => rows.map((row, i) => (lane[i] !== null && lane[i] !== mine ? undefined : row !== null && (drawn[i] || !series.results[row]) ? series.seats[row] : null));

function hatch(context, ink) {
  const tile = document.createElement("canvas");
  const size = Math.round(8 * devicePixelRatio);
  tile.width = tile.height = size;
  const pen = tile.getContext("2d");
  pen.strokeStyle = ink;
  pen.lineWidth = devicePixelRatio;
  pen.beginPath();
  for (const shift of [-size, 0, size]) {
    pen.moveTo(shift, size);
    pen.lineTo(shift + size, 0);
  }
  pen.stroke();
  return context.createPattern(tile, "repeat");
}

// Writes what a stretch is at its top, where it is wide enough.
function label(context, word, x, top, width, wash) {
  context.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
  const wide = context.measureText(word).width + 12 * devicePixelRatio;
  const tall = 18 * devicePixelRatio;
  if (tall > width) return;
  context.save();
  context.translate(x, top + tall / 3 + (wide > width ? wide : tall) / 2);
  if (wide > width) context.rotate(-Math.PI / 2);
  context.fillStyle = wash;
  context.fillRect(-wide / 2, -tall / 2, wide, tall);
  context.fillStyle = css("--ink-2");
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(word, 0, 0);
  context.restore();
}

// Draws the stretches behind the lines.
function stretches(get, named) {
  return {
    hooks: {
      drawClear: (u) => {
        const { shaped: { holes, suppressed }, elsewhere } = get();
        const { left, top, width, height } = u.bbox;
        u.ctx.save();
        u.ctx.beginPath();
        u.ctx.rect(left, top, width, height);
        u.ctx.clip();
        const paint = (list, wash, ink, word) => {
          const tile = hatch(u.ctx, ink);
          for (const [from, to, , share] of list) {
            // Whole pixels: stretches side by side show no seams.
            const x = Math.round(u.valToPos(from / 1000, "x", true));
            const least = share === 1 ? 2 * devicePixelRatio : 1;
            const w = Math.max(least, Math.round(u.valToPos(to / 1000, "x", true)) - x);
            u.ctx.globalAlpha = share;
            u.ctx.fillStyle = wash;
            u.ctx.fillRect(x, top, w, height);
            u.ctx.fillStyle = tile;
            u.ctx.fillRect(x, top, w, height);
            u.ctx.globalAlpha = 1;
            if (named && share >= 0.5) label(u.ctx, word, x + w / 2, top, w, wash);
          }
        };
        paint(holes, css("--hole-wash"), css("--hole-ink"), elsewhere ? "windows of another date" : "no data");
        paint(suppressed, css("--none-wash"), css("--none-ink"), "no result");
        u.ctx.restore();
      },
    },
  };
}

export const PANELS = [
  { id: "engagement", title: "Engagement index, 0–100, with its 95 % interval", height: 250, range: [0, 100] },
  { id: "people", title: "People, and coverage in %", height: 150 },
  { id: "emotions", title: "Shares of the eight expressions", height: 180, range: [0, 1] },
  { id: "affect", title: "Valence and arousal, −1 to 1", height: 140, range: [-1, 1] },
];

function seriesOf(id) {
  // Not moved to whole pixels: a dash shorter than one would be gone, or not, by where it lies.
  const plain = { points: { show: false }, pxAlign: 0 };
  const line = (color, extra) => ({ stroke: css(color), width: 2, spanGaps: false, ...plain, ...extra });
  const band = { stroke: "transparent", width: 0, ...plain };
  if (id === "engagement") return [band, band, line("--accent")];
  if (id === "people") return [line("--people"), line("--coverage", { scale: "%", dash: [5, 4] })];
  // No edges: where windows are closer than pixels these would paint over the areas. Whole pixels: half ones of eight areas would mix.
  if (id === "emotions") return EMOTIONS.toReversed().map((name) => ({ ...band, fill: css(`--${name}`), pxAlign: 1 }));
  return [line("--accent"), line("--people", { dash: [5, 4] })];
}

const dataOf = (id, series, shaped) => [shaped.t.map((ms) => ms / 1000), ...Array.from({ length: shaped.lanes }, (_, lane) => linesOf(id, series, shaped, lane)).flat()];

function linesOf(id, series, shaped, lane) {
  const column = (name) => pick(shaped, series[name], lane);
  if (id === "engagement") return [column("ci_high"), column("ci_low"), column("engagement")];
  if (id === "people") return [seen(shaped, series, lane), column("coverage").map((v) => v && 100 * v)];
  if (id === "affect") return [column("valence"), column("arousal")];
  const sums = shaped.t.map(() => 0);
  return EMOTIONS.map((name) => column(`share_${name}`).map((v, i) => v && (sums[i] += v))).toReversed();
}

// Times, and the day where it is another one: at midnight, and at the first of a past day.
function ticks(_, splits, __, ___, step) {
  return splits.map((s, i) => {
    const ms = 1000 * s;
    if (step >= 86400 || new Date(ms).getHours() + new Date(ms).getMinutes() === 0) return date(ms);
    return i === 0 && !today(ms) ? `${clock(ms)}\n${date(ms)}` : clock(ms);
  });
}

export function chart(panel, place, sync, current, onCursor, onZoom) {
  const axis = (extra) => ({ stroke: css("--ink-2"), grid: { stroke: css("--grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif", ...extra });
  const y = panel.range ? { range: panel.range } : { range: (_, __, max) => [0, Math.max(5, Math.ceil((max ?? 0) * 1.15))] };
  const { lanes } = current().shaped;
  const each = (make) => Array.from({ length: lanes }, (_, lane) => make(lane)).flat();
  const axes = [axis({ values: ticks, space: 70, size: (_, words) => (words?.some((word) => String(word).includes("\n")) ? 42 : 26) }), axis({ size: 44 })];
  if (panel.id === "people") axes.push(axis({ scale: "%", side: 1, size: 44, grid: { show: false }, values: (_, ticks) => ticks.map((v) => `${v} %`) }));
  const options = {
    width: place.clientWidth,
    height: panel.height,
    legend: { show: false },
    // The second axis of one panel leaves the same room in all: their times stay one above the other.
    padding: [8, panel.id === "people" ? 0 : 44, 0, 0],
    cursor: { sync: { key: sync, setSeries: false }, drag: { x: true, y: false, setScale: false }, points: { size: 7 } },
    scales: { x: { time: true, range: () => [current().series.from / 1000, current().series.to / 1000] }, y, "%": { range: [0, 100] } },
    axes,
    series: [{}, ...each(() => seriesOf(panel.id))],
    bands: panel.id === "engagement" ? each((lane) => [{ series: [1 + 3 * lane, 2 + 3 * lane], fill: css("--band") }]) : [],
    plugins: [stretches(current, panel.id === "engagement")],
    hooks: {
      setCursor: [(u) => onCursor(u.cursor.idx)],
      setSelect: [(u) => u.select.width > 4 && onZoom(1000 * u.posToVal(u.select.left, "x"), 1000 * u.posToVal(u.select.left + u.select.width, "x"))],
    },
  };
  const plot = new uPlot(options, dataOf(panel.id, current().series, current().shaped), place);
  return {
    plot,
    lanes,
    update: () => plot.batch(() => plot.setData(dataOf(panel.id, current().series, current().shaped))), // at once
    resize: () => plot.setSize({ width: place.clientWidth, height: panel.height }),
    destroy: () => plot.destroy(),
  };
}
