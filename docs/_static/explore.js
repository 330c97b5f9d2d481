// Explorables: a chart whose sliders choose among numbers that were computed before. No request, no library.
"use strict";
(() => {
  const SPACE = "http://www.w3.org/2000/svg", W = 640, H = 300, LEFT = 56, RIGHT = 12, TOP = 12, BOTTOM = 46;
  const DASH = { dashed: "7 4", dotted: "2 4" };

  const make = (name, attributes, parent, text) => {
    const svg = ["svg", "g", "path", "line", "circle", "text", "rect", "title"].includes(name);
    const node = svg ? document.createElementNS(SPACE, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    parent.append(node);
    return node;
  };
  const told = (value) => (value === null ? "–" : String(Number(value.toFixed(2)) + 0));

  function explorable(root) {
    const data = JSON.parse(root.querySelector("script").textContent);
    const state = { x: data.x.start };
    const all = [...data.controls, { name: "x", label: data.x.name, values: data.x.values, start: data.x.start }];
    const along = (thing) => thing.by.reduce((values, name) => values[state[name]], thing.values);

    // scales
    const xs = data.x.values.map((v, i) => (data.x.log ? Math.log(v) : i));
    const right = (i) => LEFT + 10 + ((xs[i] - xs[0]) / (xs.at(-1) - xs[0])) * (W - LEFT - RIGHT - 20);
    const up = (v) => H - BOTTOM - ((v - data.y.from) / (data.y.to - data.y.from)) * (H - TOP - BOTTOM);
    const inside = (v) => Math.min(Math.max(v, data.y.from), data.y.to);

    const controls = make("div", { class: "controls" }, root);
    const chart = make("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": data.title }, root);
    const legend = make("ul", { class: "legend" }, root);
    const pictures = make("div", { class: "pictures" }, root);
    const live = make("p", { "aria-live": "polite" }, root);

    for (const control of all) {
      state[control.name] = control.start;
      const label = make("label", {}, controls);
      const words = make("span", {}, label);
      const attributes = { type: "range", min: 0, max: control.values.length - 1, step: 1, value: control.start };
      const slider = make("input", attributes, label);
      const show = () => {
        state[control.name] = Number(slider.value);
        words.textContent = `${control.label}: ${control.values[slider.value]}`;
        slider.setAttribute("aria-valuetext", String(control.values[slider.value]));
      };
      slider.addEventListener("input", () => { show(); draw(); });
      show();
    }

    function axes() {
      make("path", { d: `M${LEFT} ${TOP}V${H - BOTTOM}H${W - RIGHT}`, class: "axis" }, chart);
      const ticks = 4;
      for (let i = 0; i <= ticks; i++) {
        const v = data.y.from + (i / ticks) * (data.y.to - data.y.from);
        make("text", { x: LEFT - 6, y: up(v) + 4, "text-anchor": "end" }, chart, told(v));
        make("path", { d: `M${LEFT} ${up(v)}H${W - RIGHT}`, class: "grid" }, chart);
      }
      data.x.values.forEach((v, i) => make("text", { x: right(i), y: H - BOTTOM + 18, "text-anchor": "middle" }, chart, v));
      make("text", { x: (W + LEFT) / 2, y: H - 6, "text-anchor": "middle" }, chart, data.x.name);
      const turn = `rotate(-90) translate(${-(H - BOTTOM + TOP) / 2} 14)`;
      make("text", { transform: turn, "text-anchor": "middle" }, chart, data.y.name);
    }

    function path(values, steps) {
      let out = "";
      values.forEach((v, i) => {
        if (v === null) return;
        if (steps) out += `${out ? "L" : "M"}${i ? right(i - 1) : LEFT} ${up(inside(v))}L${right(i)} ${up(inside(v))}`;
        else out += `${out ? "L" : "M"}${right(i)} ${up(inside(v))}`;
      });
      return out;
    }

    function draw() {
      chart.replaceChildren();
      axes();
      make("path", { d: `M${right(state.x)} ${TOP}V${H - BOTTOM}`, class: "here" }, chart);
      const said = [];
      for (const line of data.lines) {
        const values = along(line), value = values[state.x];
        said.push(`${line.name} ${told(value)}`);
        if (line.style === "told") continue;
        const look = { class: `line c${line.colour}`, "stroke-dasharray": DASH[line.style] || "none" };
        make("path", { d: path(values, line.style === "steps"), ...look }, chart);
        if (value !== null && line.style !== "dotted")
          make("circle", { cx: right(state.x), cy: up(inside(value)), r: 3.5, class: `dot c${line.colour}` }, chart);
      }
      const at = all.map((c) => `${c.label} ${c.values[state[c.name]]}`).join(", ");
      live.textContent = `${at}: ${said.join("; ")}.`;
      drawPictures();
    }

    function drawPictures() {
      pictures.replaceChildren();
      for (const picture of data.pictures || []) {
        const values = along(picture), side = Math.sqrt(values.length);
        const figure = make("figure", {}, pictures);
        const svg = make("svg", { viewBox: `0 0 ${side} ${side}`, role: "img", "aria-label": picture.name }, figure);
        values.forEach((v, i) => {
          const part = Math.min(Math.max(((v ?? picture.from) - picture.from) / (picture.to - picture.from), 0), 1);
          const grey = Math.round(255 * part);
          const place = { x: i % side, y: Math.floor(i / side), width: 1.02, height: 1.02 };
          make("rect", { ...place, fill: `rgb(${grey},${grey},${grey})` }, svg);
        });
        make("figcaption", {}, figure, picture.name);
      }
    }

    for (const line of data.lines.filter((l) => l.style !== "told")) {
      const item = make("li", {}, legend);
      const sample = make("svg", { viewBox: "0 0 30 10", width: 30, height: 10, "aria-hidden": "true" }, item);
      const look = { class: `line c${line.colour}`, "stroke-dasharray": DASH[line.style] || "none" };
      make("path", { d: "M0 5H30", ...look }, sample);
      make("span", {}, item, line.name);
    }
    draw();
  }

  const start = () => document.querySelectorAll(".explorable").forEach(explorable);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
