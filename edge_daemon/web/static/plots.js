"use strict";
// Scattergrams on canvas, histograms and trends with uPlot. Every plot has its table in the page.
(() => {
  const CLASSES = ["pure_rbc", "reticulocyte", "clumped_rbc", "platelet", "other"];
  const GROUPS = [["pure_rbc", "reticulocyte", "clumped_rbc"], ["platelet"]]; // outlined apart
  const SHORT = { pure_rbc: "red cells", reticulocyte: "retic", clumped_rbc: "clumps", platelet: "platelets", other: "other" };
  const NAMES = {
    size_content: "Size and content", size_dye: "Size and RNA dye", size_width: "Size and width",
    LA: "low-angle scatter (size)", HA: "wide-angle scatter (content)", SS: "side scatter",
    EXT: "extinction (haemoglobin)", FL: "RNA dye",
  };
  let paper = false; // while printing: dark ink on white, whatever the screen shows

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const ink = () => (paper ? "#000" : css("--ink"));
  const quiet = () => (paper ? "#444" : css("--quiet"));
  const line = () => (paper ? "#bbb" : css("--line"));
  const back = () => (paper ? "#fff" : css("--paper"));
  const colour = (name) => css(`--cell-${name}${paper ? "-paper" : ""}`);
  const size = 12;
  const font = (px) => `${px}px system-ui, "DejaVu Sans", sans-serif`;

  // --- the stored bytes: docs/storage.md, "Pictures" ---------------------------------------
  async function load(url) {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(await answer.text());
    const stream = answer.body.pipeThrough(new DecompressionStream("deflate"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    const head = new DataView(bytes.buffer).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + head)));
    let at = 4 + head;
    const number = () => {
      let value = 0, scale = 1, byte;
      do {
        byte = bytes[at++];
        value += (byte & 127) * scale;
        scale *= 128;
      } while (byte & 128);
      return value;
    };
    for (const picture of [...header.scattergrams, ...header.histograms]) {
      const filled = number();
      const bins = [], cells = {};
      let end = 0;
      for (let i = 0; i < filled; i++) bins.push((end += number() + 1) - 1);
      const each = picture.x.bins * (picture.y ? picture.y.bins : 1);
      for (const name of picture.classes) cells[name] = new Float64Array(each);
      for (const bin of bins) cells[picture.classes[Math.floor(bin / each)]][bin % each] = number() + 1;
      picture.cells = cells;
    }
    return header;
  }

  // --- scattergram ---------------------------------------------------------------------------
  const place = (axis, value) =>
    axis.scale === "log"
      ? Math.log(value / axis.low) / Math.log(axis.high / axis.low)
      : (value - axis.low) / (axis.high - axis.low);
  const sameAxes = (a, b) =>
    ["x", "y"].every((k) => ["name", "unit", "scale", "low", "high", "bins"].every((p) => a[k][p] === b[k][p]));
  const label = (axis) => NAMES[axis.name.split(".")[0]] || axis.name;

  // Where `share` of these classes' cells lie, densest bins first, after a small blur.
  function region(picture, classes, share) {
    const nx = picture.x.bins, ny = picture.y.bins;
    let grid = new Float64Array(nx * ny);
    for (const name of classes) if (picture.cells[name]) picture.cells[name].forEach((n, i) => (grid[i] += n));
    for (let pass = 0; pass < 2; pass++) {
      const next = new Float64Array(nx * ny);
      for (let y = 0; y < ny; y++)
        for (let x = 0; x < nx; x++) {
          let sum = 0;
          for (let dy = -2; dy <= 2; dy++)
            for (let dx = -2; dx <= 2; dx++) {
              const u = x + dx, v = y + dy;
              if (u >= 0 && v >= 0 && u < nx && v < ny) sum += grid[v * nx + u];
            }
          next[y * nx + x] = sum / 25;
        }
      grid = next;
    }
    const order = [...grid].sort((a, b) => b - a);
    const total = order.reduce((a, b) => a + b, 0);
    let sum = 0, least = Infinity;
    for (const n of order) {
      if (sum >= share * total) break;
      sum += n;
      least = n;
    }
    return { inside: (x, y) => x >= 0 && y >= 0 && x < nx && y < ny && grid[y * nx + x] >= least };
  }

  function scatter(canvas, picture, shown, outline) {
    const wide = Math.max(220, canvas.parentElement.clientWidth), high = Math.min(wide, 420);
    const ratio = Math.max(1, window.devicePixelRatio || 1);
    canvas.width = Math.round(wide * ratio);
    canvas.height = Math.round(high * ratio);
    canvas.style.height = `${high}px`;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.fillStyle = back();
    pen.fillRect(0, 0, wide, high);
    const left = 46, bottom = 40, top = 8, right = 8;
    const w = wide - left - right, h = high - top - bottom;
    const { x: ax, y: ay } = picture;
    const bw = w / ax.bins, bh = h / ay.bins;

    pen.font = font(size);
    pen.fillStyle = quiet();
    pen.strokeStyle = line();
    pen.lineWidth = 1;
    pen.textAlign = "center";
    for (const tick of ax.ticks) {
      const px = left + place(ax, tick) * w;
      pen.beginPath(); pen.moveTo(px, top); pen.lineTo(px, top + h); pen.stroke();
      pen.fillText(String(tick), px, top + h + 14);
    }
    pen.textAlign = "right";
    for (const tick of ay.ticks) {
      const py = top + (1 - place(ay, tick)) * h;
      pen.beginPath(); pen.moveTo(left, py); pen.lineTo(left + w, py); pen.stroke();
      pen.fillText(String(tick), left - 5, py + 4);
    }
    pen.textAlign = "center";
    pen.fillText(label(ax), left + w / 2, high - 6);
    pen.save();
    pen.translate(11, top + h / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText(label(ay), 0, 0);
    pen.restore();

    // The common classes first: a rare one is never hidden under them.
    const present = picture.classes.filter((name) => shown.has(name));
    const sums = Object.fromEntries(present.map((n) => [n, picture.cells[n].reduce((a, b) => a + b, 0)]));
    present.sort((a, b) => sums[b] - sums[a]);
    for (const name of present) {
      const cells = picture.cells[name];
      const most = Math.log1p(cells.reduce((a, b) => Math.max(a, b), 1));
      pen.fillStyle = colour(name);
      for (let i = 0; i < cells.length; i++) {
        if (!cells[i]) continue;
        pen.globalAlpha = 0.35 + 0.65 * (Math.log1p(cells[i]) / most);
        const y = Math.floor(i / ax.bins), x = i - y * ax.bins;
        pen.fillRect(left + x * bw, top + h - (y + 1) * bh, Math.max(bw, 1.3), Math.max(bh, 1.3));
      }
    }
    pen.globalAlpha = 1;
    for (const { inside } of outline || []) {
      pen.strokeStyle = ink();
      pen.lineWidth = 1.6;
      pen.beginPath();
      for (let y = 0; y <= ay.bins; y++)
        for (let x = 0; x <= ax.bins; x++) {
          const here = inside(x, y), px = left + x * bw, py = top + h - y * bh;
          if (here !== inside(x - 1, y)) { pen.moveTo(px, py); pen.lineTo(px, py - bh); }
          if (here !== inside(x, y - 1)) { pen.moveTo(px, py); pen.lineTo(px + bw, py); }
        }
      pen.stroke();
    }
    // A name at the middle of each population: nothing rests on colour alone.
    pen.font = `600 ${font(size)}`;
    pen.textAlign = "center";
    pen.lineWidth = 4;
    const taken = [];
    for (const name of present) {
      if (sums[name] < 20 || name === "other") continue;
      let seen = 0, row = 0, sx = 0;
      const cells = picture.cells[name];
      for (let i = 0; i < cells.length; i++) {
        if (seen < sums[name] / 2) { seen += cells[i]; row = Math.floor(i / ax.bins); }
        sx += cells[i] * (i % ax.bins);
      }
      const px = Math.min(left + w - 30, Math.max(left + 30, left + (sx / sums[name]) * bw));
      let py = Math.max(top + 12, top + h - row * bh - 18);
      while (taken.some(([x, y]) => Math.abs(x - px) < 62 && Math.abs(y - py) < 14)) py += py > top + 26 ? -14 : 42;
      taken.push([px, py]);
      pen.strokeStyle = back();
      pen.strokeText(SHORT[name], px, py);
      pen.fillStyle = ink();
      pen.fillText(SHORT[name], px, py);
    }
    pen.strokeStyle = quiet();
    pen.lineWidth = 1;
    pen.strokeRect(left, top, w, h);
  }

  // --- histograms ------------------------------------------------------------------------------
  const decimal = () => document.body.dataset.decimal || ".";
  const text = (v, digits) => (v === null || v === undefined ? "–" : v.toFixed(digits).replace(".", decimal()));

  function axes(xLabel, yLabel) {
    const look = (name, space) => ({
      label: name, labelSize: 18, labelFont: font(size), font: font(size), size: space,
      stroke: quiet(), grid: { stroke: line(), width: 1 }, ticks: { stroke: line(), width: 1 },
      values: (_, all) => all.map((v) => (v === null ? "" : String(v).replace(".", decimal()))),
    });
    return [look(xLabel, 34), look(yLabel, 48)];
  }

  function histogram(holder, picture, example) {
    const { x } = picture;
    // As many bars as the cells can fill: fine ones for thousands, wide ones for hundreds.
    const counts = picture.classes.map((name) => picture.cells[name]);
    const number = counts.flatMap((c) => [...c]).reduce((a, b) => a + b, 0);
    const filled = counts.reduce((a, c) => Math.max(a, c.length - c.findIndex((n) => n) - [...c].reverse().findIndex((n) => n)), 1);
    const step = Math.max(1, Math.round(filled / Math.min(120, Math.max(24, 4 * Math.cbrt(number)))));
    const at = (i) => (x.scale === "log" ? x.low * (x.high / x.low) ** ((i + 0.5) / x.bins) : x.low + ((i + 0.5) * (x.high - x.low)) / x.bins);
    const xs = [];
    for (let i = 0; i + step <= x.bins; i += step) xs.push(at(i + (step - 1) / 2));
    const fold = (cells) => xs.map((_, i) => { let n = 0; for (let k = 0; k < step; k++) n += cells[i * step + k]; return n; });
    const data = [xs], series = [{ label: x.unit || "signal", value: (_, v) => text(v, 1) }];
    for (const name of picture.classes) {
      data.push(fold(picture.cells[name]));
      series.push({ label: SHORT[name], stroke: colour(name), fill: `${colour(name)}44`, width: 1.6, points: { show: false } });
    }
    if (example) {
      const own = picture.classes.reduce((a, n) => a + picture.cells[n].reduce((p, q) => p + q, 0), 0);
      const sum = new Float64Array(x.bins);
      for (const name of example.classes) example.cells[name].forEach((n, i) => (sum[i] += n));
      const all = sum.reduce((a, b) => a + b, 0) || 1;
      data.push(fold(sum).map((n) => (n * own) / all));
      series.push({ label: "normal", stroke: ink(), dash: [5, 4], width: 1.4, points: { show: false } });
    }
    const boundary = picture.boundary;
    const peak = Math.max(...data.slice(1).flat());
    const last = xs.reduce((a, v, i) => (data.slice(1).some((d) => d[i] > peak / 500) ? v : a), xs[0]);
    const plot = new uPlot(
      {
        width: Math.max(220, holder.clientWidth), height: 230, series,
        scales: { x: { time: false, distr: x.scale === "log" ? 3 : 1, range: () => [x.scale === "log" ? x.low : 0, Math.min(x.high, Math.max(last * 1.15, boundary ? boundary.at * 1.2 : 0))] } },
        axes: axes(x.name === "volume" ? `volume, ${x.unit}` : label(x), "cells"),
        cursor: { drag: { x: false, y: false } },
        legend: { live: false },
        hooks: {
          draw: [(u) => {
            if (!boundary) return;
            const px = u.valToPos(boundary.at, "x", true);
            const { ctx, bbox } = u;
            ctx.save();
            ctx.strokeStyle = ink();
            ctx.setLineDash([3, 3]);
            ctx.lineWidth = 1.5;
            ctx.beginPath(); ctx.moveTo(px, bbox.top); ctx.lineTo(px, bbox.top + bbox.height); ctx.stroke();
            ctx.restore();
          }],
        },
      },
      data,
      holder,
    );
    return plot;
  }

  const two = (n) => String(n).padStart(2, "0");
  function day(seconds, withTime) {
    const d = new Date(seconds * 1000);
    const date = `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
    return withTime ? `${date} ${two(d.getHours())}:${two(d.getMinutes())}` : date;
  }

  // --- trend -------------------------------------------------------------------------------------
  function trend(holder, table, code) {
    const cells = [...table.querySelectorAll(`td[data-code="${CSS.escape(code)}"]`)].reverse();
    const number = (cell, key) => (cell.dataset[key] === undefined ? null : Number(cell.dataset[key]));
    const data = [cells.map((c) => Number(c.dataset.at)), cells.map((c) => number(c, "value")), cells.map((c) => number(c, "low")), cells.map((c) => number(c, "high"))];
    const head = table.querySelector(`th[data-code="${CSS.escape(code)}"]`);
    const low = number(head, "low"), high = number(head, "high");
    const digits = Number(head.dataset.digits || 1);
    const shown = data.slice(1).flat().concat([low, high]).filter((v) => v !== null);
    const span = [Math.min(...shown), Math.max(...shown)];
    const room = (span[1] - span[0] || Math.abs(span[1]) || 1) * 0.12;
    const stroke = paper ? "#000" : css("--link");
    return new uPlot(
      {
        width: Math.max(220, holder.clientWidth), height: 240,
        series: [
          { label: "visit", value: (_, v) => (v === null ? "–" : day(v, true)) },
          { label: code, stroke, width: 2, points: { show: true, size: 9, fill: stroke }, value: (_, v) => text(v, digits) },
          { label: "95 % from", stroke: "transparent", points: { show: false }, value: (_, v) => text(v, digits) },
          { label: "to", stroke: "transparent", points: { show: false }, value: (_, v) => text(v, digits) },
        ],
        bands: [{ series: [3, 2], fill: `${paper ? "#000000" : css("--link")}2b` }],
        scales: { y: { range: () => [Math.max(0, span[0] - room), span[1] + room] } },
        axes: axes("", `${code} ${head.dataset.unit || ""}`).map((a, i) => (i ? a : { ...a, label: undefined, space: 120, values: (u, all) => all.map((v) => day(v, u.scales.x.max - u.scales.x.min < 3 * 86400)) })),
        cursor: { drag: { x: false, y: false } },
        hooks: {
          drawClear: [(u) => {
            if (low === null || high === null) return;
            const a = u.valToPos(high, "y", true), b = u.valToPos(low, "y", true);
            const { ctx, bbox } = u;
            ctx.save();
            ctx.fillStyle = paper ? "#eee" : css("--ok-back");
            ctx.beginPath(); ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height); ctx.clip();
            ctx.fillRect(bbox.left, a, bbox.width, b - a);
            ctx.restore();
          }],
        },
      },
      data,
      holder,
    );
  }

  // --- the page ----------------------------------------------------------------------------------
  async function pictures(section) {
    const note = section.querySelector(".plot-note");
    let run, normal = null;
    try {
      run = await load(section.dataset.pictures);
      if (section.dataset.normal) normal = await load(section.dataset.normal);
    } catch {
      note.textContent = "The plots cannot be drawn now; the tables below hold their figures.";
      return;
    }
    const shown = new Set(CLASSES);
    let mode = "off";
    let plots = [];
    const regions = new Map();

    function outlineOf(picture, other) {
      if (!regions.has(picture.name)) regions.set(picture.name, GROUPS.map((group) => region(other, group, 0.9)));
      return regions.get(picture.name);
    }
    function draw() {
      for (const plot of plots) plot.destroy();
      plots = [];
      for (const figure of section.querySelectorAll("figure[data-scatter]")) {
        const picture = run.scattergrams[Number(figure.dataset.scatter)];
        const other = normal && normal.scattergrams.find((p) => p.name === picture.name);
        const over = mode === "over" && other && sameAxes(picture, other) ? outlineOf(picture, other) : null;
        scatter(figure.querySelector("canvas.own"), picture, shown, over);
        const beside = figure.querySelector(".normal");
        if (beside) {
          beside.hidden = mode !== "beside" || !other;
          if (!beside.hidden) scatter(beside.querySelector("canvas"), other, shown, null);
        }
      }
      for (const holder of section.querySelectorAll("[data-histogram]")) {
        const picture = run.histograms[Number(holder.dataset.histogram)];
        const other = normal && normal.histograms.find((p) => p.name === picture.name);
        const fits = other && ["name", "unit", "scale", "low", "high", "bins"].every((p) => other.x[p] === picture.x[p]);
        plots.push(histogram(holder, picture, mode !== "off" && fits ? other : null));
      }
    }
    for (const box of section.querySelectorAll("input[name=class]"))
      box.addEventListener("change", () => { box.checked ? shown.add(box.value) : shown.delete(box.value); draw(); });
    for (const radio of section.querySelectorAll("input[name=normal]")) {
      if (radio.checked) mode = radio.value;
      radio.addEventListener("change", () => { mode = radio.value; draw(); });
    }
    section.querySelector(".plot-tools").hidden = false;
    again(draw);
    section.dataset.drawn = "yes";
  }

  function trends(section) {
    const holder = section.querySelector("[data-trend]"), select = section.querySelector("select");
    const table = section.querySelector("table");
    let plot = null;
    function draw() {
      if (plot) plot.destroy();
      plot = trend(holder, table, select.value);
    }
    select.addEventListener("change", draw);
    select.closest("label").hidden = false;
    again(draw);
    section.dataset.drawn = "yes";
  }

  // Draw now, and again with another width, other colours, or on paper.
  function again(draw) {
    draw();
    let width = innerWidth;
    addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; draw(); } });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    const print = (on) => { if (on !== paper) paper = on; draw(); };
    addEventListener("beforeprint", () => print(true));
    addEventListener("afterprint", () => print(false));
    matchMedia("print").addEventListener("change", (event) => print(event.matches));
  }

  for (const section of document.querySelectorAll("[data-pictures]")) pictures(section);
  for (const section of document.querySelectorAll("[data-trends]")) trends(section);
})();
