"use strict";
// What a mark tells: on hover, by tapping, and by the arrow keys inside a figure.
(function () {
  const told = document.getElementById("told");
  const payload = JSON.parse(document.getElementById("payload").textContent);
  const NS = "http://www.w3.org/2000/svg";
  const say = (text) => { told.textContent = text || ""; };
  document.querySelectorAll(".picture").forEach((picture) => {
    const marks = Array.from(picture.querySelectorAll("[data-t]"));
    let at = -1;
    const show = (k) => {
      marks.forEach((mark) => mark.classList.remove("on"));
      at = k;
      if (k < 0) { say(""); return; }
      marks[k].classList.add("on");
      say(marks[k].dataset.t);
    };
    picture.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (step && marks.length) {
        show((at + step + marks.length) % marks.length);
        event.preventDefault();
      } else if (event.key === "Escape") { show(-1); }
    });
    picture.addEventListener("pointerover", (event) => {
      const k = marks.indexOf(event.target);
      if (k >= 0) { show(k); }
    });
    picture.addEventListener("pointerleave", () => show(-1));
    picture.addEventListener("blur", () => show(-1));
  });

  const node = (kind, given, text) => {
    const made = document.createElementNS(NS, kind);
    for (const name in given) { made.setAttribute(name, given[name]); }
    if (text !== undefined) { made.textContent = text; }
    return made;
  };
  const WIDE = 560, HIGH = 420, LEFT = 60, BOTTOM = 44, TOP = 10, RIGHT = 12;
  const reach = (values) => {
    const known = values.filter((v) => v !== null).sort((a, b) => a - b);
    if (!known.length) { return [0, 1]; }
    const low = known[Math.floor(0.005 * (known.length - 1))], high = known[Math.ceil(0.995 * (known.length - 1))];
    const margin = 0.06 * (high - low) || 0.5;
    return [low - margin, high + margin];
  };
  const scales = (x, y) => [
    (v) => LEFT + (WIDE - LEFT - RIGHT) * (v - x[0]) / (x[1] - x[0]),
    (v) => HIGH - BOTTOM - (HIGH - TOP - BOTTOM) * (v - y[0]) / (y[1] - y[0]),
  ];
  const round = (v) => Number(v.toPrecision(3)).toString();
  const axes = (svg, x, y, names) => {
    svg.replaceChildren();
    const [across, up] = scales(x, y);
    const group = node("g", { class: "axis" });
    group.append(node("path", { d: `M${LEFT},${TOP}V${HIGH - BOTTOM}H${WIDE - RIGHT}` }));
    for (let k = 0; k <= 4; k += 1) {
      const a = x[0] + (x[1] - x[0]) * k / 4, b = y[0] + (y[1] - y[0]) * k / 4;
      group.append(node("text", { x: across(a), y: HIGH - BOTTOM + 16, "text-anchor": "middle" }, round(a)));
      group.append(node("text", { x: LEFT - 6, y: up(b) + 4, "text-anchor": "end" }, round(b)));
    }
    group.append(node("text", { x: (LEFT + WIDE) / 2, y: HIGH - 8, "text-anchor": "middle" }, names[0]));
    group.append(node("text", { transform: `translate(12 ${HIGH / 2}) rotate(-90)`, "text-anchor": "middle" }, names[1]));
    svg.append(group);
    return [across, up];
  };
  const inside = (v, box) => v !== null && v >= box[0] && v <= box[1];

  if (payload.pairs) {
    const pairs = payload.pairs, get = (id) => document.getElementById(id);
    const svg = get("pair-picture");
    const draw = () => {
      const a = Number(get("pair-x").value), b = Number(get("pair-y").value);
      const x = reach(pairs.rows[a].concat(pairs.draws[a])), y = reach(pairs.rows[b].concat(pairs.draws[b]));
      const [across, up] = axes(svg, x, y, [pairs.columns[a], pairs.columns[b]]);
      const dots = (from, kind) => from[a].forEach((v, k) => {
        if (inside(v, x) && inside(from[b][k], y)) {
          svg.append(node("circle", { class: kind, cx: across(v), cy: up(from[b][k]), r: kind === "row" ? 2.6 : 3.2 }));
        }
      });
      if (get("pair-rows").checked) { dots(pairs.rows, "row"); }
      if (get("pair-draws").checked) { dots(pairs.draws, "draw"); }
      svg.setAttribute("aria-label", `Scatter of ${pairs.columns[a]} and ${pairs.columns[b]}, rows and draws`);
    };
    ["pair-x", "pair-y", "pair-rows", "pair-draws"].forEach((id) => get(id).addEventListener("change", draw));
    draw();
  }

  if (payload.moulding) {
    const told = payload.moulding, get = (id) => document.getElementById(id);
    const svg = get("mould-picture"), slider = get("mould-stage"), last = told.stages.length - 1;
    let timer = 0;
    const colour = (v, size) => {
      const t = Math.max(-1, Math.min(1, v / (size || 1)));
      return t < 0 ? `hsl(215 75% ${62 + 10 * t}%)` : `hsl(14 80% ${62 - 12 * t}%)`;
    };
    const mix = (a, b, t) => a + (b - a) * t;
    const draw = () => {
      const s = Number(slider.value), k = Math.min(Math.floor(s), last), next = Math.min(k + 1, last), t = s - k;
      const a = Number(get("mould-x").value), b = Number(get("mould-y").value);
      const box = (j) => {
        const one = reach(told.stages[k].map((p) => p[j])), two = reach(told.stages[next].map((p) => p[j]));
        return [mix(one[0], two[0], t), mix(one[1], two[1], t)];
      };
      const x = box(a), y = box(b);
      const [across, up] = axes(svg, x, y, [told.columns[a], told.columns[b]]);
      const grown = told.volumes[k].map((v, i) => mix(v, told.volumes[next][i], t));
      const middle = grown.slice().sort((p, q) => p - q)[Math.floor(grown.length / 2)];
      const size = Math.max(...grown.map((v) => Math.abs(v - middle)), 0.5);
      told.stages[k].forEach((p, i) => {
        const u = mix(p[a], told.stages[next][i][a], t), v = mix(p[b], told.stages[next][i][b], t);
        if (inside(u, x) && inside(v, y)) {
          svg.append(node("circle", { cx: across(u), cy: up(v), r: 3.2, fill: colour(grown[i] - middle, size) }));
        }
      });
      const name = told.names[Math.round(s)];
      get("mould-name").textContent = `${name}; log |det| about ${round(middle)}`;
      svg.setAttribute("aria-label", `Points ${name}`);
    };
    const stop = () => { clearInterval(timer); timer = 0; get("mould-play").textContent = "Play"; };
    get("mould-play").addEventListener("click", () => {
      if (timer) { stop(); return; }
      if (Number(slider.value) >= last) { slider.value = 0; }
      get("mould-play").textContent = "Pause";
      timer = setInterval(() => {
        slider.value = Number(slider.value) + 0.05;
        draw();
        if (Number(slider.value) >= last) { stop(); }
      }, 40);
    });
    slider.addEventListener("input", draw);
    ["mould-x", "mould-y"].forEach((id) => get(id).addEventListener("change", draw));
    draw();
  }
})();
