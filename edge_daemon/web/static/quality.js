"use strict";
// Levey-Jennings charts and moving averages, drawn from the tables that stand beside them.
(() => {
  const COLOURS = ["--link", "--cell-platelet", "--cell-clumped_rbc", "--cell-pure_rbc"];
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const font = '12px system-ui, "DejaVu Sans", sans-serif';
  let paper = false; // while printing: dark ink on white, whatever the screen shows
  const ink = () => (paper ? "#000" : css("--ink"));
  const quiet = () => (paper ? "#444" : css("--quiet"));
  const line = () => (paper ? "#bbb" : css("--line"));
  const text = (v, digits) => (v === null || v === undefined ? "–" : v.toFixed(digits).replace(".", document.body.dataset.decimal || "."));

  function chart(section, code) {
    const holder = section.querySelector(".plot"), table = section.querySelector("table[data-points]");
    const head = table.querySelector(`th[data-code="${CSS.escape(code)}"]`);
    const limits = (head.dataset.limits || "").split(" ").filter(Boolean).map(Number);
    const rows = [...table.tBodies[0].rows].reverse(); // oldest on the left
    const names = [], columns = {}, beyond = {};
    rows.forEach((row, i) => {
      for (const cell of row.querySelectorAll(`td[data-code="${CSS.escape(code)}"]`)) {
        const name = cell.dataset.series;
        if (!columns[name]) { names.push(name); columns[name] = Array(rows.length).fill(null); beyond[name] = new Set(); }
        if (cell.dataset.y === undefined) continue;
        columns[name][i] = Number(cell.dataset.y);
        if (cell.dataset.beyond !== undefined) beyond[name].add(i);
      }
    });
    const label = (i) => (rows[i] ? rows[i].cells[0].dataset.short || rows[i].cells[0].textContent : "");
    const seen = names.flatMap((n) => columns[n]).filter((v) => v !== null).concat(limits);
    const reach = Math.max(...seen.map(Math.abs)) * 1.15 || 1;
    const series = [{ label: table.tHead.rows[0].cells[0].textContent, value: (_, v) => (v === null ? "–" : label(v)) }];
    names.forEach((name, i) => {
      const stroke = paper ? "#000" : css(COLOURS[i % COLOURS.length]);
      series.push({ label: name, stroke, width: 1.8, dash: i ? [7, 3 + i] : undefined, spanGaps: true, points: { show: true, size: 6, fill: stroke }, value: (_, v) => text(v, 2) });
    });
    const look = (name, space, values) => ({ label: name, labelSize: 18, labelFont: font, font, size: space, stroke: quiet(), grid: { stroke: line(), width: 1 }, ticks: { stroke: line(), width: 1 }, values });
    return new uPlot(
      {
        width: Math.max(220, holder.clientWidth), height: 220, series,
        scales: { x: { time: false, range: () => [-0.5, Math.max(rows.length - 0.5, 4.5)] }, y: { range: () => [-reach, reach] } },
        axes: [
          { ...look(undefined, 30, (_, all) => all.map((v) => (Number.isInteger(v) ? label(v) : ""))), space: 110 },
          look(`${code}, ${section.dataset.unit}`, 48, (_, all) => all.map((v) => (v === null ? "" : String(v).replace(".", document.body.dataset.decimal || ".")))),
        ],
        cursor: { drag: { x: false, y: false } },
        hooks: {
          draw: [(u) => {
            const { ctx, bbox } = u;
            ctx.save();
            for (const limit of [0, ...limits]) {
              const y = u.valToPos(limit, "y", true);
              ctx.strokeStyle = limit ? (paper ? "#000" : css("--failed")) : quiet();
              ctx.lineWidth = 1.4;
              ctx.setLineDash(limit ? [6, 4] : []);
              ctx.beginPath(); ctx.moveTo(bbox.left, y); ctx.lineTo(bbox.left + bbox.width, y); ctx.stroke();
            }
            // A ring around what breaks a limit: nothing rests on colour alone.
            ctx.setLineDash([]);
            ctx.lineWidth = 2;
            ctx.strokeStyle = ink();
            for (const name of names)
              for (const i of beyond[name]) {
                ctx.beginPath();
                ctx.arc(u.valToPos(i, "x", true), u.valToPos(columns[name][i], "y", true), 8 * (window.devicePixelRatio || 1), 0, 7);
                ctx.stroke();
              }
            ctx.restore();
          }],
        },
      },
      [rows.map((_, i) => i), ...names.map((n) => columns[n])],
      holder,
    );
  }

  function charts(section) {
    const select = section.querySelector("select");
    select.closest("label").hidden = false;
    select.addEventListener("change", kept(section, () => chart(section, select.value)));
  }

  // Difference against mean of each sample; bias and limits as lines, what is uncertain as bands.
  function pairs(section) {
    const holder = section.querySelector(".plot"), pick = (row, key) => Number(row.dataset[key]);
    const rows = [...section.querySelectorAll("table[data-points] tbody tr")].sort((a, b) => pick(a, "x") - pick(b, "x"));
    const lines = [...section.querySelectorAll("tr[data-at]")];
    const xs = rows.map((r) => pick(r, "x")), ys = rows.map((r) => pick(r, "y"));
    const around = (all) => { const low = Math.min(...all), high = Math.max(...all), room = (high - low || Math.abs(high) || 1) * 0.08; return [low - room, high + room]; };
    const wide = around(xs), tall = around([...ys, 0, ...lines.flatMap((r) => [pick(r, "low"), pick(r, "high")])]);
    const decimal = (_, all) => all.map((v) => (v === null ? "" : String(v).replace(".", document.body.dataset.decimal || ".")));
    const look = (name, space) => ({ label: name, labelSize: 18, labelFont: font, font, size: space, stroke: quiet(), grid: { stroke: line(), width: 1 }, ticks: { stroke: line(), width: 1 }, values: decimal });
    const stroke = paper ? "#000" : css("--link");
    return new uPlot(
      {
        width: Math.max(220, holder.clientWidth), height: 320, legend: { show: false }, cursor: { show: false },
        series: [{}, { stroke, paths: () => null, points: { show: true, size: 6, fill: stroke } }],
        scales: { x: { time: false, range: () => wide }, y: { range: () => tall } },
        axes: [look(section.dataset.x, 34), look(section.dataset.y, 52)],
        hooks: {
          drawClear: [(u) => {
            const { ctx, bbox } = u, y = (v) => u.valToPos(v, "y", true);
            ctx.save();
            for (const row of lines) {
              ctx.fillStyle = paper ? "#ddd" : css("--line");
              ctx.globalAlpha = 0.55;
              ctx.fillRect(bbox.left, y(pick(row, "high")), bbox.width, y(pick(row, "low")) - y(pick(row, "high")));
            }
            ctx.restore();
          }],
          draw: [(u) => {
            const { ctx, bbox } = u, ratio = window.devicePixelRatio || 1, y = (v) => u.valToPos(v, "y", true);
            ctx.save();
            const across = (at, colour, dash) => {
              ctx.strokeStyle = colour; ctx.lineWidth = 1.4 * ratio; ctx.setLineDash(dash);
              ctx.beginPath(); ctx.moveTo(bbox.left, y(at)); ctx.lineTo(bbox.left + bbox.width, y(at)); ctx.stroke();
            };
            across(0, quiet(), []);
            lines.forEach((row, i) => across(pick(row, "at"), ink(), i ? [7, 4] : [2, 3]));
            ctx.setLineDash([]);
            ctx.font = font.replace("12", String(12 * ratio));
            ctx.fillStyle = ink();
            ctx.textAlign = "right";
            for (const row of lines) {
              const words = [row.cells[0].textContent, bbox.left + bbox.width - 6, y(pick(row, "at")) - 4 * ratio];
              ctx.strokeStyle = paper ? "#fff" : css("--paper"); // lifts the words off the points
              ctx.lineWidth = 4 * ratio;
              ctx.strokeText(...words);
              ctx.fillText(...words);
            }
            ctx.strokeStyle = ink();
            ctx.lineWidth = 1.4 * ratio;
            rows.forEach((row, i) => {
              if (row.dataset.beyond === undefined) return;
              ctx.beginPath(); ctx.arc(u.valToPos(xs[i], "x", true), y(ys[i]), 7 * ratio, 0, 7); ctx.stroke();
            });
            ctx.restore();
          }],
        },
      },
      [xs, ys],
      holder,
    );
  }

  // Draw now, and again with another width, other colours, or on paper.
  function kept(section, make) {
    let plot = null;
    function draw() {
      if (plot) plot.destroy();
      plot = make();
    }
    draw();
    let width = innerWidth;
    addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; draw(); } });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    matchMedia("print").addEventListener("change", (event) => { paper = event.matches; draw(); });
    section.dataset.drawn = "yes";
    return draw;
  }

  for (const section of document.querySelectorAll("[data-chart]")) charts(section);
  for (const section of document.querySelectorAll("[data-pairs]")) kept(section, () => pairs(section));

  // What is still being worked out is shown as soon as it is there.
  const working = document.querySelector("[data-working]");
  if (working)
    setInterval(async () => {
      const answer = await fetch(working.dataset.working).catch(() => null);
      if (answer && answer.ok && !(await answer.json()).working) location.reload();
    }, 1500);
})();
