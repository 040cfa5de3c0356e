// The console's own script: keys, palette, copying, the slider, live parts. Pages work without it.
"use strict";
(() => {
  const $ = (what, within = document) => within.querySelector(what);
  const all = (what, within = document) => [...within.querySelectorAll(what)];
  document.documentElement.classList.add("scripted");

  // Every id has a button that copies it.
  customElements.define("copy-id", class extends HTMLElement {
    connectedCallback() {
      if (this.firstChild) return;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "copy";
      button.setAttribute("aria-label", "Copy " + this.dataset.text);
      button.addEventListener("click", async () => {
        try { await navigator.clipboard.writeText(this.dataset.text); button.textContent = "copied"; }
        catch { button.textContent = "select it"; }
        setTimeout(() => { button.textContent = "copy"; }, 1500);
      });
      this.append(button);
    }
  });

  // Who acts changes at once.
  all("[data-auto-submit]").forEach((field) => field.addEventListener("change", () => field.form.submit()));

  // Rows: j and k move, Enter opens.
  let row = -1;
  const rows = () => all("main [data-rows] > tr, main [data-rows] > li");
  const go = (to) => {
    const found = rows();
    if (!found.length) return;
    row = Math.max(0, Math.min(found.length - 1, to));
    found.forEach((r, n) => r.classList.toggle("here", n === row));
    found[row].scrollIntoView({ block: "nearest" });
  };
  const open = () => { const link = rows()[row] && $("a", rows()[row]); if (link) link.click(); };

  // Palette: places of the rail, acts of this page, and the search.
  const palette = $("#palette");
  const choices = () => [
    ...all(".rail a").map((a) => ({ text: a.dataset.name, go: () => { location.href = a.href; } })),
    ...all("main .acts summary").map((s) => ({ text: "Act: " + s.textContent.trim(), go: () => {
      palette.close(); s.parentElement.open = true; s.focus(); s.scrollIntoView({ block: "center" }); } })),
  ];
  const showChoices = () => {
    const wanted = $("input", palette).value.trim(), list = $("ul", palette);
    const found = choices().filter((c) => c.text.toLowerCase().includes(wanted.toLowerCase()));
    if (wanted) found.push({ text: "Search for " + wanted, go: () => { location.href = "/search?q=" + encodeURIComponent(wanted); } });
    list.replaceChildren(...found.map((c, n) => {
      const item = document.createElement("li"), link = document.createElement("a");
      link.textContent = c.text; link.href = "#"; item.classList.toggle("here", n === 0);
      link.addEventListener("click", (e) => { e.preventDefault(); c.go(); });
      item.append(link);
      return item;
    }));
  };
  const openPalette = (text = "") => { $("input", palette).value = text; showChoices(); palette.showModal(); };
  if (palette) {
    $("input", palette).addEventListener("input", showChoices);
    palette.addEventListener("keydown", (e) => {
      const items = all("li", palette), at = items.findIndex((i) => i.classList.contains("here"));
      if (e.key === "Enter") { e.preventDefault(); if (items[at]) $("a", items[at]).click(); }
      if (e.key === "ArrowDown" || e.key === "ArrowUp") {
        e.preventDefault();
        const to = Math.max(0, Math.min(items.length - 1, at + (e.key === "ArrowDown" ? 1 : -1)));
        items.forEach((i, n) => i.classList.toggle("here", n === to));
        if (items[to]) items[to].scrollIntoView({ block: "nearest" });
      }
    });
  }

  // Keys. After g, a letter goes to a place.
  let going = 0;
  const typing = (e) => /^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName) && e.target.type !== "range";
  document.addEventListener("keydown", (e) => {
    if ((e.ctrlKey || e.metaKey) && e.key.toLowerCase() === "k") { e.preventDefault(); openPalette(); return; }
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.key === "Escape") { document.body.classList.remove("going"); if (typing(e)) e.target.blur(); return; }
    if (typing(e) || $("dialog[open]")) return;
    if (going && Date.now() - going < 1500) {
      going = 0;
      document.body.classList.remove("going");
      const link = $('.rail a[data-key="' + CSS.escape(e.key) + '"]');
      if (link) { e.preventDefault(); location.href = link.href; }
      return;
    }
    const keys = {
      "/": () => $("#search").focus(), "j": () => go(row + 1), "k": () => go(row - 1), "Enter": () => {
        if (document.activeElement === document.body || document.activeElement.tagName === "TR") open(); },
      "g": () => { going = Date.now(); document.body.classList.add("going"); setTimeout(() => document.body.classList.remove("going"), 1500); },
      ".": () => openPalette("Act: "), "?": () => $("#help").showModal(),
      "ArrowLeft": () => { const l = $("[rel=prev]"); if (l) l.click(); }, "ArrowRight": () => { const l = $("[rel=next]"); if (l) l.click(); },
    };
    if (e.target.type === "range" && e.key.startsWith("Arrow")) return;
    if (e.key in keys) { if (e.key !== "Enter") e.preventDefault(); keys[e.key](); }
  });

  // The slider goes to the revision it is left at.
  all("input[type=range][data-slide]").forEach((slide) => {
    slide.addEventListener("input", () => { $("output", slide.form).textContent = slide.value; });
    slide.addEventListener("change", () => slide.form.submit());
  });

  // Live parts: when the read side moved on, fetch this page again and swap what is marked live.
  const light = $("#light");
  if (!light || !window.EventSource) return;
  let seen = light.dataset.position, busy = false, waiting = false;
  const busyHands = () => $("main form[data-dirty], dialog[open], main details[open] form") || /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
  all("main form").forEach((f) => f.addEventListener("input", () => { f.dataset.dirty = "1"; }));
  const refresh = async () => {
    if (busy) { waiting = true; return; }
    if (busyHands()) { waiting = true; return; }
    busy = true; waiting = false;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html", "usance-live": light.dataset.look || "" } });
      if (answer.ok) {
        const next = new DOMParser().parseFromString(await answer.text(), "text/html");
        light.dataset.look = next.getElementById("light").dataset.look || "";
        all("[data-live]").forEach((part) => {
          const other = next.getElementById(part.id);
          if (!other || other.innerHTML === part.dataset.was) return;
          const before = new Set(all("[data-rows] > tr", part).map((r) => r.textContent));
          part.dataset.was = other.innerHTML;
          part.replaceChildren(...other.childNodes);
          all("[data-rows] > tr", part).forEach((r) => { if (!before.has(r.textContent)) r.classList.add("new"); });
          if (row >= 0) go(row);
        });
      }
    } catch { /* the light tells */ }
    busy = false;
  };
  all("[data-live]").forEach((part) => { part.dataset.was = part.innerHTML; });
  const show = (tone, words) => { light.className = "light " + tone; $("span", light).textContent = words; };
  const stream = new EventSource("/live");
  stream.addEventListener("light", (e) => {
    const told = JSON.parse(e.data);
    show(told.tone, told.words);
    if (told.position !== seen) { seen = told.position; refresh(); } else if (waiting) refresh();
  });
  stream.onerror = () => show("bad", "the program does not answer; what you see is as of the clock above");
  addEventListener("pagehide", () => stream.close());
})();
