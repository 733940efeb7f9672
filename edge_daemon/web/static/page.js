"use strict";
// Live list and keys. Without this file every page still works; it only stays as it is.
(() => {
  const $ = (id) => document.getElementById(id);

  function ago(seconds) {
    const minutes = Math.round(seconds / 60);
    if (minutes < 1) return "just now";
    if (minutes < 120) return `${minutes} min ago`;
    const hours = Math.round(minutes / 60);
    return hours < 48 ? `${hours} hours ago` : `${Math.round(hours / 24)} days ago`;
  }

  function live(line) {
    let seen = { run: Number(line.dataset.run), capture: Number(line.dataset.capture) };
    let heard = line.dataset.heard === undefined ? null : Number(line.dataset.heard);
    let since = performance.now();
    let asking = false;

    function tell() {
      if (heard === null) return;
      const text = `Analyzer last heard ${ago(heard + (performance.now() - since) / 1000)}.`;
      if (line.textContent !== text) line.textContent = text;
    }

    async function refresh() {
      if (asking) return;
      asking = true;
      try {
        const answer = await fetch(line.dataset.rows, { headers: { Accept: "text/html" } });
        if (answer.redirected || answer.status === 401) location.reload();
        if (!answer.ok) return;
        const rows = $("rows");
        const old = new Set([...rows.querySelectorAll("a.open")].map((a) => a.pathname));
        const focused = document.activeElement && document.activeElement.pathname;
        // Our own page, rendered and escaped by the box.
        rows.innerHTML = await answer.text();
        for (const link of rows.querySelectorAll("a.open")) {
          if (!old.has(link.pathname)) link.closest("tr").classList.add("new");
          if (focused && link.pathname === focused) link.focus();
        }
      } finally {
        asking = false;
      }
    }

    function news(found) {
      heard = found.heard_s;
      since = performance.now();
      tell();
      const fresh = found.run !== seen.run;
      seen = found;
      if (fresh) refresh();
    }

    async function poll() {
      try {
        const answer = await fetch("/live.json");
        if (answer.ok) news(await answer.json());
      } catch {
        /* the box restarts or the network is down: asked again */
      }
    }

    setInterval(tell, 15000);
    if (line.dataset.live !== "on") return;
    let polling = null;
    const stream = window.EventSource ? new EventSource("/live") : null;
    if (!stream) {
      setInterval(poll, 5000);
      return;
    }
    stream.onmessage = (event) => {
      if (polling) clearInterval(polling);
      polling = null;
      news(JSON.parse(event.data));
    };
    // The browser opens a broken stream again by itself; until then the page asks.
    stream.onerror = () => {
      polling = polling || setInterval(poll, 5000);
    };
    window.addEventListener("pagehide", () => stream.close());
  }

  function keys() {
    const help = $("keys");
    if (!help) return;
    const typing = (target) => target.closest("input, select, textarea, dialog, [contenteditable]");
    const links = () => [...document.querySelectorAll("a.open")];

    function step(by) {
      const all = links();
      if (!all.length) return;
      const at = all.indexOf(document.activeElement);
      const next = at < 0 ? 0 : Math.min(all.length - 1, Math.max(0, at + by));
      all[next].focus();
      all[next].closest("tr").scrollIntoView({ block: "nearest" });
    }

    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "Escape" && event.target.id === "q") return event.target.blur();
      if (typing(event.target)) return;
      const search = $("q");
      const act = {
        "/": () => (search ? (search.focus(), search.select()) : location.assign("/#q")),
        j: () => step(1),
        k: () => step(-1),
        g: () => location.assign("/"),
        p: () => window.print(),
        "?": () => help.showModal(),
      }[event.key];
      if (!act) return;
      event.preventDefault();
      act();
    });
    if (location.hash === "#q" && $("q")) $("q").focus();
  }

  for (const button of document.querySelectorAll("[data-print]")) {
    button.hidden = false;
    button.addEventListener("click", () => window.print());
  }
  // After a corrected species: show the new analysis as soon as it is there.
  const awaited = document.querySelector("[data-awaited]");
  if (awaited) {
    setInterval(async () => {
      const answer = await fetch(awaited.dataset.awaited).catch(() => null);
      if (!answer || !answer.ok) return;
      const { newest } = await answer.json();
      if (newest !== Number(awaited.dataset.run)) location.assign(`/results/${newest}#said`);
    }, 2000);
  }
  const line = $("heard");
  if (line) live(line);
  keys();
})();
