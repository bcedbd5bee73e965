// From the columns of the server to what a chart draws: points, and the stretches to hatch. Times in ms.
// Time without a window, and windows without a result, are never a line: where results are less than half of a bucket,
// or stand alone, they are a dash as long as the time that has them.

import { median } from "./words.js";

// Rows of the server in order, each with the stretch from its first window to the end of its last, within the range:
// how much of that no window covers, and for how much of it the result was withheld.
function pieces(series) {
  let before = series.from;
  return series.t.map((t, row) => {
    const [start, end] = series.step ? [series.start[row], series.end[row]] : [series.start[row], t];
    const to = Math.max(before, Math.min(end, series.to));
    const from = Math.min(to, Math.max(before, start)); // windows that overlap, as after a clock was set, count once
    const length = to - from;
    const within = length / Math.max(1, end - start); // its part that lies in the range
    const covered = series.step ? Math.min(length, series.covered[row] * within) : length;
    const withheld = series.step ? Math.min(covered, series.withheld[row] * within) : series.results[row] ? 0 : length;
    before = to;
    return { from, to, withheld, missing: length - covered, good: covered - withheld };
  });
}

// Adds a stretch; one that goes on as the last did is one with it. `share` is how much of it is meant.
function mark(list, from, to, share, why, near) {
  const last = list.at(-1);
  if (last && from - last[1] <= near && last[2] === why && Math.abs(share - last[3]) <= 0.1) {
    last[3] = (last[3] * (last[1] - last[0]) + share * (to - from)) / (to - last[0]);
    last[1] = to;
  } else list.push([from, to, why, share]);
}

const MOST_LANES = 4;

// A clock that was set back tells some times twice. Windows whose times go on with their numbers are one line; lines
// that overlap get a lane each, the first of them lane 0.
function lanes(series) {
  if (series.step) return series.t.map(() => 0);
  const order = series.t.map((_, i) => i).sort((a, b) => series.stream[a] - series.stream[b] || series.seq[a] - series.seq[b]);
  const runs = [];
  order.forEach((row, n) => {
    const before = order[n - 1];
    if (n && series.stream[before] === series.stream[row] && series.t[before] <= series.t[row]) runs.at(-1).push(row);
    else runs.push([row]);
  });
  runs.sort((a, b) => series.start[a[0]] - series.start[b[0]]);
  const ends = [];
  const found = [];
  for (const run of runs) {
    let lane = ends.findIndex((end) => end <= series.start[run[0]] + 1000); // clocks are slewed
    if (lane < 0) lane = Math.min(ends.length, MOST_LANES - 1);
    ends[lane] = Math.max(ends[lane] ?? 0, series.t[run.at(-1)]);
    for (const row of run) found[row] = lane;
  }
  return found;
}

// `t`, `rows`, `drawn` and `lane` go together: a moment, the row of the server that is told there (null where no window
// came), whether a line goes through, and which line. `stops` are the indices at which keys and the table stop: one a row and hole.
export function shape(series, now) {
  const { step } = series;
  const list = pieces(series);
  const lengths = series.t.map((t, i) => (step ? series.covered[i] / series.windows[i] : t - series.start[i]));
  const usual = median(lengths) || 60000; // of a window
  const laneOf = lanes(series);
  const data = { t: [], rows: [], drawn: [], lane: [], lanes: 1 + Math.max(0, ...laneOf), stops: [], holes: [], suppressed: [], missing: [] };
  const put = (t, row, drawn) => {
    data.t.push(t);
    data.rows.push(row);
    data.drawn.push(drawn);
    data.lane.push(row === null ? null : laneOf[row]);
  };
  const stop = (...point) => {
    data.stops.push(data.t.length);
    put(...point);
  };

  // A hole between two buckets that is shorter than half a bucket belongs to the first of them.
  const least = 0.5 * Math.max(usual, step);
  const until = Math.min(series.to, now - 1.5 * usual); // the window that is open now is not missing
  const after = (i) => (i + 1 < list.length ? list[i + 1].from : until) - (i < 0 ? series.from : list[i].to);
  // The last bucket has not ended yet: it is as long as its windows are.
  const ends = (i) => (i + 1 < list.length ? Math.min(series.to, series.t[i] + step) : list[i].to);
  const bucket = (i) => (step ? ends(i) - Math.max(series.from, series.t[i]) : 0);
  const solid = list.map(({ good }, i) => series.results[i] > 0 && good >= 0.5 * bucket(i));
  // Its neighbours in its own lane.
  const [before, next, last] = [[], [], []];
  laneOf.forEach((lane, i) => {
    before[i] = last[lane];
    if (last[lane] !== undefined) next[last[lane]] = i;
    last[lane] = i;
  });
  const between = (i, j) => (data.lanes === 1 ? after(i) : series.start[j] - series.t[i]);
  const joined = (i, j) => i !== undefined && j !== undefined && solid[i] && solid[j] && between(i, j) <= least;

  const hole = (i) => {
    const from = i < 0 ? series.from : list[i].to;
    if (after(i) <= least) return;
    mark(data.holes, from, from + after(i), 1, "", 0);
    stop(from + after(i) / 2, null, false);
  };
  hole(-1);
  list.forEach(({ from, to, withheld, missing, good }, i) => {
    const rest = step && after(i) > 0 && after(i) <= least ? after(i) : 0;
    data.missing[i] = missing + rest > 0.5 * usual ? missing + rest : 0;
    if (data.missing[i]) mark(data.holes, from, to + rest, data.missing[i] / (to + rest - from), "", 0);
    const why = [series.suppressed[i] ?? []].flat().join();
    if (withheld > 0) mark(data.suppressed, from, to, withheld / (to - from), why, 0.5 * usual);

    const middle = (from + to) / 2;
    const at = step ? middle : to;
    if (!series.results[i]) stop(at, i, false);
    else if (joined(before[i], i) || joined(i, next[i])) {
      // With one lane a hole, or a window without a result, parts two lines already.
      if (data.lanes > 1 && !joined(before[i], i)) put(at, i, false);
      stop(at, i, true);
    } else {
      for (const drawn of [false, true]) put(middle - good / 2, i, drawn);
      if (step) stop(middle, i, true);
      else data.stops.push(data.t.length);
      for (const drawn of [true, false]) put(middle + good / 2, i, drawn);
    }
    hole(i);
  });
  return data;
}

// How much of the range is hatched, ms.
export const amount = (stretches) => stretches.reduce((ms, [from, to, , share]) => ms + (to - from) * share, 0);
