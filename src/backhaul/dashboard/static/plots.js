// The plots of one page. Without scripts its table has the same numbers.
"use strict";

const SIZES = ["B", "KiB", "MiB", "GiB", "TiB"];

function bytes(value) {
  let unit = 0;
  while (value >= 1024 && unit < SIZES.length - 1) { value /= 1024; unit += 1; }
  return `${value >= 100 || Number.isInteger(value) ? Math.round(value) : value.toFixed(1)} ${SIZES[unit]}`;
}

function seconds(value) {
  if (value < 120) return `${Math.round(value * 10) / 10} s`;
  return value < 7200 ? `${Math.round(value / 60)} min` : `${Math.round(value / 360) / 10} h`;
}

function whole(value) { return Number.isInteger(value) ? String(value) : ""; }

// 24 hours, and days as 2026-12-31; uPlot's own are American.
const TIMES = [
  [86400 * 28, "{YYYY}-{MM}", null, null, null, null, null, null, 1],
  [86400, "{MM}-{DD}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", "\n{YYYY}-{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1],
];
const POWERS_OF_TWO = Array.from({ length: 60 }, (_, power) => 2 ** power);

const CHARTS = [
  { id: "chart-rate", unit: bytes, steps: POWERS_OF_TWO, lines: [["bytes_per_s", "bytes/s", "--bar"]] },
  { id: "chart-bytes", unit: bytes, steps: POWERS_OF_TWO, lines: [["bytes", "bytes", "--bar"]], bars: true },
  { id: "chart-lag", unit: seconds, lines: [["lag_mean_s", "mean", "--bar"], ["lag_max_s", "longest", "--warn-line"]], points: true },
  { id: "chart-dead", unit: whole, lines: [["dead", "dead", "--bad-line"], ["failed", "failed attempts", "--warn-line"]] },
];

function color(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

function draw(chart, data) {
  const figure = document.getElementById(chart.id);
  figure.querySelector(".uplot")?.remove();
  const axis = { stroke: color("--muted"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line"), width: 1 } };
  const shown = (value) => (value === null || value === undefined ? "–" : chart.unit(value));
  const plot = new uPlot({
    width: figure.clientWidth, height: 180,
    cursor: { drag: { x: false, y: false } },
    scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.05 : 1] } },
    axes: [
      { ...axis, values: TIMES },
      { ...axis, size: 72, values: (_, ticks) => ticks.map(chart.unit), ...(chart.steps ? { incrs: chart.steps } : {}) },
    ],
    series: [{ label: "Time", value: "{YYYY}-{MM}-{DD} {HH}:{mm}" }, ...chart.lines.map(([, label, line]) => ({
      label, stroke: color(line), width: 1.5, value: (_, value) => shown(value), spanGaps: false,
      ...(chart.points ? { points: { show: true, size: 4 } } : {}),
      ...(chart.bars ? { fill: color(line), paths: uPlot.paths.bars({ size: [0.8] }) } : {}),
    }))],
  }, [data.time, ...chart.lines.map(([name]) => data[name])], figure);
  return plot;
}

document.addEventListener("DOMContentLoaded", async () => {
  const place = document.getElementById("charts");
  let data;
  try {
    const answer = await fetch(place.dataset.url, { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error(answer.statusText);
    data = await answer.json();
  } catch {
    place.remove(); // the table has what there is
    return;
  }
  let plots = [];
  const drawAll = () => { plots = CHARTS.map((chart) => draw(chart, data)); };
  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  window.addEventListener("resize", () => {
    for (const plot of plots) plot.setSize({ width: plot.root.parentNode.clientWidth, height: 180 });
  });
});
