"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const count = data.x.length;
  const canvas = document.getElementById("map");
  const pen = canvas.getContext("2d");
  const main = canvas.parentElement;
  const tip = document.getElementById("tip");
  const card = document.getElementById("card");
  const legend = document.getElementById("legend");
  const search = document.getElementById("search");
  const matches = document.getElementById("matches");
  const pictures = document.getElementById("pictures");
  const by = (selector) => [...document.querySelectorAll(selector)];

  const PALETTE = ["#3f7cac", "#e07a2f", "#4c9f50", "#d1495b", "#8e6bbf", "#c99a06", "#2a9d8f",
    "#b5577f", "#7a8450", "#5b6ee1", "#a0623a"];
  const RAMP = ["#f2a01e", "#e2703a", "#d1556a", "#a35cb5", "#7468c9", "#4a83bd"];
  const OTHER = "#9a948c";
  const NEAR_PX = 14;
  const CLOSEST = 400;
  const IN_CARD = 6;

  // What is drawn: a point is on when its group is, and bright when it matches the search too.
  let colouring = "category";
  let groupsOn = new Set();
  const bright = new Uint8Array(count);
  let brightCount = 0;
  let pictured = false;
  let chosen = -1;
  let hovered = -1;
  let width = 0, height = 0, ratio = 1;
  const view = { scale: 1, left: 0, top: 0 };
  let ink = {};

  const screenX = (i) => data.x[i] / 65535 * view.scale + view.left;
  const screenY = (i) => data.y[i] / 65535 * view.scale + view.top;
  const groupOf = (i) => data.colourings[colouring].of[i];
  const isOther = (labels, group) => colouring !== "age" && labels[group] === data.other;
  const colourOf = (group) => {
    const labels = data.colourings[colouring].labels;
    if (isOther(labels, group)) return OTHER;
    return colouring === "age" ? RAMP[group] : PALETTE[group % PALETTE.length];
  };

  // ── looks ──────────────────────────────────────────────────────────────────────────────
  function readInk() {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(name).trim();
    ink = { paper: of("--paper"), ink: of("--ink"), faint: of("--faint"), accent: of("--accent") };
    draw();
  }

  function dotRadius() {
    const whole = fitted().scale, fine = 70 / Math.sqrt(count) * Math.min(1, whole / 640);
    return Math.min(7, Math.max(1.8, fine + Math.log2(view.scale / whole)));
  }

  let waiting = false;
  function draw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; paint(); });
  }

  function paint() {
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.fillStyle = ink.paper;
    pen.fillRect(0, 0, width, height);
    // Few that are left among many are hard to see: they grow.
    const radius = dotRadius() + (brightCount < count / 8 ? 1.8 : 0);
    const inView = [];
    for (let i = 0; i < count; i++) {
      const x = screenX(i), y = screenY(i);
      if (x < -40 || y < -40 || x > width + 40 || y > height + 40) continue;
      if (bright[i]) inView.push(i);
      else dot(x, y, dotRadius() * .7, ink.faint);
    }
    pen.imageSmoothingQuality = "high";
    pictured = pictures && pictures.complete && inView.length <= 90 && view.scale > 2 * fitted().scale;
    pen.globalAlpha = pictured ? 1 : .82;
    for (const i of inView) {
      if (pictured) thumb(i, 24, colourOf(groupOf(i)));
      else dot(screenX(i), screenY(i), radius, colourOf(groupOf(i)));
    }
    pen.globalAlpha = 1;
    if (chosen >= 0) drawNeighbours(radius);
    if (hovered >= 0 && hovered !== chosen) ring(hovered, radius + 3, ink.ink);
    if (chosen >= 0) ring(chosen, radius + 4, ink.accent);
  }

  function dot(x, y, radius, colour) {
    pen.fillStyle = colour;
    pen.beginPath();
    pen.arc(x, y, radius, 0, 7);
    pen.fill();
  }

  function ring(i, radius, colour) {
    if (bright[i] && pictured) { thumb(i, 26, colour); return; }
    if (bright[i]) dot(screenX(i), screenY(i), radius - 2, colourOf(groupOf(i)));
    pen.strokeStyle = colour;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(screenX(i), screenY(i), radius, 0, 7);
    pen.stroke();
  }

  function drawNeighbours(radius) {
    for (const { row, cosine } of neighboursOf(chosen)) {
      pen.strokeStyle = ink.accent;
      pen.lineWidth = 1.2;
      pen.globalAlpha = Math.max(.25, cosine);
      pen.beginPath();
      pen.moveTo(screenX(chosen), screenY(chosen));
      pen.lineTo(screenX(row), screenY(row));
      pen.stroke();
      pen.globalAlpha = 1;
      ring(row, radius + 1.5, ink.accent);
    }
  }

  function tile(i) {
    const { columns, width: w, height: h } = data.tiles;
    return { x: i % columns * w, y: Math.floor(i / columns) * h, w, h };
  }

  function thumb(i, half, colour) {
    const { x, y, w, h } = tile(i);
    const left = screenX(i) - half, top = screenY(i) - half * h / w;
    pen.drawImage(pictures, x, y, w, h, left, top, 2 * half, 2 * half * h / w);
    pen.strokeStyle = colour;
    pen.lineWidth = 2;
    pen.strokeRect(left, top, 2 * half, 2 * half * h / w);
  }

  // ── where we look ──────────────────────────────────────────────────────────────────────
  function fitted() {
    const margin = 36;
    const scale = Math.max(40, Math.min(width - 2 * margin, height - 2 * margin));
    return { scale, left: (width - scale) / 2, top: (height - scale) / 2 };
  }

  function moved() {
    const least = fitted().scale;
    view.scale = Math.min(Math.max(view.scale, least * .6), least * CLOSEST);
    draw();
  }

  function zoom(factor, x = width / 2, y = height / 2) {
    const least = fitted().scale;
    const scale = Math.min(Math.max(view.scale * factor, least * .6), least * CLOSEST);
    view.left = x - (x - view.left) * scale / view.scale;
    view.top = y - (y - view.top) * scale / view.scale;
    view.scale = scale;
    moved();
  }

  function showAll() { Object.assign(view, fitted()); draw(); }

  function showRows(rows) {
    if (!rows.length) return;
    const xs = rows.map((i) => data.x[i] / 65535), ys = rows.map((i) => data.y[i] / 65535);
    const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const whole = fitted();
    const scale = Math.min(whole.scale / Math.max(x1 - x0, y1 - y0, .04) * .85, whole.scale * 24);
    Object.assign(view, { scale, left: width / 2 - (x0 + x1) / 2 * scale, top: height / 2 - (y0 + y1) / 2 * scale });
    moved();
  }

  function bringIntoView(i) {
    const x = screenX(i), y = screenY(i), edge = 60;
    if (x < edge) view.left += edge - x;
    if (y < edge) view.top += edge - y;
    if (x > width - edge) view.left -= x - (width - edge);
    if (y > height - edge) view.top -= y - (height - edge);
  }

  function resize() {
    const before = fitted();
    const stayed = width && Math.abs(view.scale - before.scale) > 1;
    const middle = [(width / 2 - view.left) / view.scale, (height / 2 - view.top) / view.scale];
    ratio = window.devicePixelRatio || 1;
    width = main.clientWidth;
    height = main.clientHeight;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    if (!stayed) { showAll(); return; }
    view.left = width / 2 - middle[0] * view.scale;
    view.top = height / 2 - middle[1] * view.scale;
    draw();
  }

  // ── what is on ─────────────────────────────────────────────────────────────────────────
  const plain = (text) => text.toLowerCase().normalize("NFKD").replace(/\p{M}/gu, "");
  const haystack = Array.from({ length: count }, (_, i) => plain(
    `${data.titles[i]} ${brandOf(i)} ${categoryOf(i)} ${data.ids[i]}`));

  function brandOf(i) { return data.brands[data.brand[i]]; }
  function categoryOf(i) { return data.categories[data.category[i]]; }

  function matching() {
    const words = plain(search.value).split(/\s+/).filter(Boolean);
    const rows = [];
    for (let i = 0; i < count; i++) {
      const on = groupsOn.has(groupOf(i)) && words.every((word) => haystack[i].includes(word));
      bright[i] = on ? 1 : 0;
      if (on) rows.push(i);
    }
    brightCount = rows.length;
    const all = rows.length === count;
    matches.textContent = all ? "" : `${rows.length.toLocaleString("en")} of ${count.toLocaleString("en")} shown`;
    draw();
    return rows;
  }

  function setColouring(name) {
    colouring = name;
    groupsOn = new Set(data.colourings[name].labels.keys());
    for (const button of by("[data-colour]")) {
      button.setAttribute("aria-pressed", String(button.dataset.colour === name));
    }
    const sizes = data.colourings[name].labels.map(() => 0);
    for (let i = 0; i < count; i++) sizes[groupOf(i)]++;
    legend.replaceChildren(...data.colourings[name].labels.map((label, group) => {
      const button = element("button", "", [swatch(group), element("span", label),
        element("small", sizes[group].toLocaleString("en"))]);
      button.title = label;
      button.addEventListener("click", () => toggle(group));
      return element("li", "", [button]);
    }));
    showGroups();
  }

  function swatch(group) {
    const made = document.createElement("i");
    made.style.background = colourOf(group);
    return made;
  }

  // The first click leaves that group alone on the map, more add or take; none left means all.
  function toggle(group) {
    const labels = data.colourings[colouring].labels;
    if (groupsOn.size === labels.length) groupsOn = new Set([group]);
    else if (groupsOn.has(group)) groupsOn.delete(group);
    else groupsOn.add(group);
    if (!groupsOn.size) groupsOn = new Set(labels.keys());
    showGroups();
  }

  function showGroups() {
    by("#legend button").forEach((button, group) => {
      button.setAttribute("aria-pressed", String(groupsOn.has(group)));
    });
    matching();
  }

  // ── one listing ────────────────────────────────────────────────────────────────────────
  function element(name, text = "", children = []) {
    const made = document.createElement(name);
    made.textContent = text;
    made.append(...children);
    return made;
  }

  function neighboursOf(i) {
    const rows = data.near.slice(i * data.k, (i + 1) * data.k);
    return rows.map((row, j) => ({ row, cosine: data.cosines[i * data.k + j] / 1000 }));
  }

  function ageOf(i) {
    const days = data.age[i];
    if (days < 1) return "listed within a day";
    return days < 2 ? "listed a day before" : `listed ${Math.floor(days)} days before`;
  }

  function picture(i, wide) {
    if (!pictures) return [];
    const { x, y, w, h } = tile(i), made = document.createElement("canvas");
    made.className = "picture";
    made.width = 2 * w;
    made.height = 2 * h;
    made.style.width = `${wide}px`;
    made.style.height = `${h * wide / w}px`;
    made.getContext("2d").drawImage(pictures, x, y, w, h, 0, 0, 2 * w, 2 * h);
    return [made];
  }

  function about(i, wide) {
    const price = (data.price[i] / 100).toLocaleString("en", { minimumFractionDigits: 2 });
    const facts = element("p", "", [element("b", `${price} ${data.currency}`), document.createElement("br"),
      brandOf(i) || "no brand", document.createElement("br"),
      categoryOf(i) || "no category", document.createElement("br"), ageOf(i)]);
    facts.className = "facts";
    const title = element("h2", data.titles[i] || "(no title)");
    title.dir = "auto";
    return [...picture(i, wide), element("div", "", [title, facts])];
  }

  function showTip(i) {
    hovered = i;
    canvas.classList.toggle("over", i >= 0);
    tip.hidden = i < 0 || i === chosen;
    if (!tip.hidden) {
      tip.replaceChildren(...about(i, 60));
      const x = screenX(i), y = screenY(i);
      const left = x + 18 + tip.offsetWidth < width ? x + 18 : x - 18 - tip.offsetWidth;
      tip.style.left = `${Math.max(6, left)}px`;
      tip.style.top = `${Math.min(Math.max(6, y - tip.offsetHeight / 2), height - tip.offsetHeight - 6)}px`;
    }
    draw();
  }

  function choose(i) {
    chosen = i;
    if (i < 0) {
      const hint = element("p", "Hover a point, or choose one to see its true neighbours.");
      hint.className = "hint";
      card.replaceChildren(hint);
    } else {
      const of = element("div", "", about(i, 84));
      of.className = "of";
      const id = element("p", data.ids[i]);
      id.className = "facts";
      of.lastChild.append(id);
      const list = element("ol", "", neighboursOf(i).slice(0, IN_CARD).map(({ row, cosine }) => {
        const name = element("span", data.titles[row] || data.ids[row]);
        name.dir = "auto";
        const button = element("button", "", [name, element("small", cosine.toFixed(2))]);
        button.addEventListener("click", () => go(row));
        return element("li", "", [button]);
      }));
      card.replaceChildren(of, element("h3", "Nearest by vector, with cosine"), list);
      card.scrollIntoView({ block: "nearest" });
    }
    draw();
  }

  function go(i) {
    bringIntoView(i);
    showTip(-1);
    choose(i);
  }

  function nearestTo(x, y, within) {
    let best = -1, least = within * within;
    for (let i = 0; i < count; i++) {
      if (!bright[i]) continue;
      const dx = screenX(i) - x, dy = screenY(i) - y, far = dx * dx + dy * dy;
      if (far < least) { least = far; best = i; }
    }
    return best;
  }

  // The nearest in a cone of 45° to each side: what an arrow key leads to.
  function step(dx, dy) {
    const from = hovered >= 0 ? hovered : chosen;
    if (from < 0) return nearestTo(width / 2, height / 2, Infinity);
    let best = from, least = Infinity;
    for (let i = 0; i < count; i++) {
      const x = screenX(i) - screenX(from), y = screenY(i) - screenY(from);
      const ahead = x * dx + y * dy, aside = Math.abs(x * dy) + Math.abs(y * dx);
      if (i === from || !bright[i] || ahead <= 0 || aside > ahead) continue;
      const far = ahead + 2 * aside;
      if (far < least) { least = far; best = i; }
    }
    return best;
  }

  // ── hands ──────────────────────────────────────────────────────────────────────────────
  const fingers = new Map();
  let travelled = 0;

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const spread = () => {
    const [a, b] = [...fingers.values()];
    return { far: Math.hypot(a.x - b.x, a.y - b.y), x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
  };

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, place(event));
    travelled = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const at = place(event), before = fingers.get(event.pointerId);
    if (!before) { showTip(nearestTo(at.x, at.y, NEAR_PX)); return; }
    const was = fingers.size === 2 ? spread() : null;
    fingers.set(event.pointerId, at);
    if (was) {
      const now = spread();
      view.left += now.x - was.x;
      view.top += now.y - was.y;
      zoom(now.far / Math.max(was.far, 1), now.x, now.y);
    } else {
      view.left += at.x - before.x;
      view.top += at.y - before.y;
    }
    travelled += Math.abs(at.x - before.x) + Math.abs(at.y - before.y);
    if (travelled > 4) { canvas.classList.add("dragging"); showTip(-1); }
    draw();
  });
  const released = (event) => {
    const at = fingers.get(event.pointerId);
    fingers.delete(event.pointerId);
    canvas.classList.remove("dragging");
    if (!at || event.type !== "pointerup" || travelled > 4) return;
    choose(nearestTo(at.x, at.y, NEAR_PX));
    showTip(chosen);
  };
  canvas.addEventListener("pointerup", released);
  canvas.addEventListener("pointercancel", released);
  canvas.addEventListener("pointerleave", () => showTip(-1));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const { x, y } = place(event);
    const lines = event.deltaMode === 1 ? 16 : 1;
    zoom(Math.exp(-Math.max(-240, Math.min(240, event.deltaY * lines)) / 360), x, y);
    showTip(-1);
  }, { passive: false });
  canvas.addEventListener("dblclick", (event) => { const { x, y } = place(event); zoom(2, x, y); });

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = ARROWS[event.key];
    if (arrow && event.shiftKey) {
      view.left -= arrow[0] * width / 6;
      view.top -= arrow[1] * height / 6;
      showTip(-1);
    } else if (arrow) {
      const next = step(...arrow);
      if (next >= 0) { bringIntoView(next); showTip(next); announce(next); }
    } else if (event.key === "+" || event.key === "=") zoomAbout(1.5);
    else if (event.key === "-") zoomAbout(1 / 1.5);
    else if (event.key === "0") showAll();
    else if ((event.key === "Enter" || event.key === " ") && hovered >= 0) go(hovered);
    else if (event.key === "Escape") { showTip(-1); choose(-1); }
    else return;
    event.preventDefault();
  });

  function zoomAbout(factor) {
    const about = hovered >= 0 ? hovered : chosen;
    if (about < 0) { zoom(factor); return; }
    bringIntoView(about);
    zoom(factor, screenX(about), screenY(about));
    showTip(hovered);
  }

  function announce(i) {
    canvas.setAttribute("aria-label", `${data.titles[i] || data.ids[i]}, ${brandOf(i)}, ${categoryOf(i)}`);
  }

  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target === search) return;
    event.preventDefault();
    search.focus();
  });
  search.addEventListener("input", matching);
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") showRows(matching());
    if (event.key === "Escape") { search.value = ""; matching(); }
  });
  document.getElementById("closer").addEventListener("click", () => zoom(1.6));
  document.getElementById("farther").addEventListener("click", () => zoom(1 / 1.6));
  document.getElementById("whole").addEventListener("click", showAll);
  for (const button of by("[data-colour]")) {
    button.addEventListener("click", () => setColouring(button.dataset.colour));
  }
  const dark = matchMedia("(prefers-color-scheme: dark)");
  document.getElementById("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    readInk();
  });
  dark.addEventListener("change", readInk);
  if (pictures && !pictures.complete) pictures.addEventListener("load", draw);

  new ResizeObserver(resize).observe(main);
  resize();
  setColouring(data.colouring);
  readInk();
})();
