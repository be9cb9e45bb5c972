"use strict";
// A map of cells to walk through: every element with class "explorer" holds its data as JSON and is brought to life.
(() => {
  const MISSING = { 1: 0xff, 2: 0xffff };
  const VIRIDIS = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"];
  const DIVERGING = {
    light: ["#7f3b08", "#d9730d", "#f6c58f", "#f4f4f2", "#9ecae9", "#2f79b5", "#08306b"],
    dark: ["#ffc27a", "#e0800f", "#7a4713", "#262b33", "#1f4f7a", "#3f97dd", "#b3dcff"],
  };
  const SYMBOLS = ["★", "◆", "●", "■", "▲"];
  const FRAME = "▼";

  // Integers, `lo` for 0 and `hi` for the largest, the number above it for nothing.
  function decode(part) {
    const bytes = Uint8Array.from(atob(part.d), (letter) => letter.charCodeAt(0));
    const size = bytes.length / part.w;
    const view = new DataView(bytes.buffer);
    const values = new Float64Array(size);
    const none = MISSING[part.w];
    for (let place = 0; place < size; place += 1) {
      const code = part.w === 1 ? view.getUint8(place) : view.getUint16(2 * place, true);
      values[place] = code === none ? NaN : part.lo + (code / (none - 1)) * (part.hi - part.lo);
    }
    return values;
  }

  function blend(stops, share) {
    const place = Math.min(1, Math.max(0, share)) * (stops.length - 1);
    const low = Math.min(stops.length - 2, Math.floor(place));
    const rest = place - low;
    const mix = [1, 3, 5].map((at) => {
      const [one, two] = [stops[low], stops[low + 1]].map((stop) => parseInt(stop.slice(at, at + 2), 16));
      return Math.round(one + rest * (two - one));
    });
    return `rgb(${mix.join(",")})`;
  }

  function scale(part, values) {
    let low = Infinity;
    let high = -Infinity;
    for (const value of values) {
      if (Number.isNaN(value)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    if (low > high) return { low: 0, high: 1, centre: null };
    if (part.ref !== null) {
      const reach = Math.max(high - part.ref, part.ref - low) || 1e-6;
      return { low: part.ref - reach, high: part.ref + reach, centre: part.ref };
    }
    return high > low ? { low, high, centre: null } : { low: low - 0.5, high: high + 0.5, centre: null };
  }

  function number(value, quantity, { signed = false, bare = false } = {}) {
    if (value === null || Number.isNaN(value)) return "no value";
    const shown = (quantity.percent ? 100 * value : value).toFixed(quantity.percent ? 1 : quantity.digits);
    const plain = Number(shown) === 0 ? shown.replace("-", "") : shown.replace("-", "−");
    const sign = signed && Number(shown) > 0 ? "+" : "";
    const unit = quantity.percent ? (signed ? " points" : " %") : quantity.unit ? ` ${quantity.unit}` : "";
    return sign + plain + (bare ? "" : unit);
  }

  function make(tag, parent, properties = {}) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in element) element[name] = value;
      else element.setAttribute(name, value);
    }
    parent.append(element);
    return element;
  }

  let choices = 0;

  function choice(parent, label, change) {
    choices += 1;
    const id = `explorer-choice-${choices}`;
    const frame = make("div", parent);
    make("label", frame, { textContent: label, htmlFor: id });
    const select = make("select", frame, { id });
    select.addEventListener("change", () => change(Number(select.value)));
    return { frame, select };
  }

  function fill(control, entries, chosen) {
    control.select.replaceChildren();
    for (const [value, text] of entries) make("option", control.select, { value: String(value), textContent: text });
    control.select.value = String(chosen);
    control.frame.hidden = entries.length < 2;
  }

  function start(root, count) {
    const data = JSON.parse(root.querySelector("script").textContent);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const state = { group: 0, facet: 0, view: 0, quantity: 0, row: 0, column: 0, hover: null };
    let now = null;
    let box = null;

    const controls = root.querySelector(".explorer-controls");
    const groupChoice = choice(controls, data.groupLabel, (value) => set({ group: value, moved: true }));
    const facetChoice = choice(controls, data.facetLabel, (value) => set({ facet: value, view: -1 }));
    const viewChoice = choice(controls, data.viewLabel, (value) => set({ view: value }));
    const quantityChoice = choice(controls, "shown", (value) => set({ quantity: value }));
    const steps = make("span", viewChoice.frame, { className: "explorer-steps" });
    for (const [sign, by, name] of [["‹", -1, "previous"], ["›", 1, "next"]]) {
      const button = make("button", steps, { type: "button", textContent: sign, "aria-label": `${name} ${data.viewLabel}` });
      button.addEventListener("click", () => {
        const select = viewChoice.select;
        const place = (select.selectedIndex + by + select.options.length) % select.options.length;
        set({ view: Number(select.options[place].value) });
      });
    }

    const field = root.querySelector(".explorer-map");
    const canvas = field.querySelector("canvas");
    const legend = root.querySelector(".explorer-legend");
    const marks = root.querySelector(".explorer-marks");
    const note = root.querySelector(".explorer-note");
    const readout = root.querySelector(".explorer-readout");
    const spoken = root.querySelector(".explorer-spoken");
    note.id = `explorer-note-${count}`;
    field.setAttribute("aria-describedby", note.id);

    const group = () => data.groups[state.group];
    const view = () => group().views[state.view];
    const facets = () => [...new Set(group().views.map((one) => one.facet))];

    function listed() {
      const facet = facets()[state.facet];
      return group().views.map((one, place) => [place, one])
        .filter(([, one]) => facet === data.everything || one.facet === facet);
    }

    function set(change) {
      const before = view();
      const cell = [group().rows[state.row], group().columns[state.column]];
      Object.assign(state, change);
      if (change.moved) follow(before, cell);
      state.facet = Math.max(0, Math.min(state.facet, facets().length - 1));
      const shown = listed();
      if (!shown.some(([place]) => place === state.view)) state.view = shown[0][0];
      const usable = data.quantities.map((_, place) => place).filter((place) => view().values[place]);
      if (!usable.includes(state.quantity)) state.quantity = usable.length ? usable[0] : 0;
      fill(groupChoice, data.groups.map((one, place) => [place, one.name]), state.group);
      fill(facetChoice, facets().map((name, place) => [place, name]), state.facet);
      fill(viewChoice, shown.map(([place, one]) => [place, one.name]), state.view);
      fill(quantityChoice, usable.map((place) => [place, data.quantities[place].name]), state.quantity);
      steps.hidden = shown.length < 2;
      refresh();
    }

    // Another group may hold other views and layers: stay with the same ones where they are there.
    function follow(before, cell) {
      const facet = before.facet;
      const found = group().views.findIndex((one) => one.name === before.name && one.facet === facet);
      state.view = Math.max(0, found);
      state.row = Math.max(0, group().rows.indexOf(cell[0]));
      state.column = Math.max(0, group().columns.indexOf(cell[1]));
      state.hover = null;
    }

    function refresh() {
      const one = view();
      const values = one.values.map((part) => (part ? decode(part) : null));
      const codes = one.codes ? decode(one.codes) : null;
      const part = one.values[state.quantity];
      now = { values, codes, part, range: part ? scale(part, values[state.quantity]) : null };
      note.textContent = one.note;
      field.setAttribute("aria-label", `${data.label}: ${group().name}, ${one.name}. Arrow keys move.`);
      drawMap();
      drawLegend();
      tell();
    }

    function colours() {
      const style = getComputedStyle(root);
      const take = (name) => style.getPropertyValue(name).trim();
      return { ink: take("--ink"), paper: take("--paper"), line: take("--line"), quiet: take("--quiet") };
    }

    function paint(value) {
      if (now.part.verdict) return DIVERGING[dark.matches ? "dark" : "light"][value > 0.5 ? 5 : 2];
      const { low, high, centre } = now.range;
      const stops = centre === null ? VIRIDIS : DIVERGING[dark.matches ? "dark" : "light"];
      return blend(stops, (value - low) / (high - low));
    }

    function sized(target, width, height) {
      const ratio = window.devicePixelRatio || 1;
      target.width = Math.round(width * ratio);
      target.height = Math.round(height * ratio);
      target.style.width = `${width}px`;
      target.style.height = `${height}px`;
      const pen = target.getContext("2d");
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      return pen;
    }

    function drawMap() {
      const { rows, columns } = group();
      const [left, top, right, bottom] = [54, 20, 8, 44];
      const room = Math.max(160, field.clientWidth);
      const cell = Math.max(4, Math.min(44, (room - left - right) / columns.length, 560 / rows.length));
      box = { left, top, cell, rows: rows.length, columns: columns.length };
      const width = left + right + cell * columns.length;
      const height = top + bottom + cell * rows.length;
      const pen = sized(canvas, width, height);
      const tone = colours();
      const values = now.values[state.quantity];
      const gap = cell > 9 ? 1 : 0;
      for (let row = 0; row < rows.length; row += 1) {
        for (let column = 0; column < columns.length; column += 1) {
          const [x, y] = corner(row, column);
          const value = values ? values[row * columns.length + column] : NaN;
          if (Number.isNaN(value)) {
            pen.strokeStyle = tone.line;
            pen.beginPath();
            pen.moveTo(x + 1, y + cell - 1);
            pen.lineTo(x + cell - 1, y + 1);
            pen.stroke();
          } else {
            pen.fillStyle = paint(value);
            // Without gaps, a little overlap keeps seams from showing at fractions of a pixel.
            pen.fillRect(x, y, cell - gap + (gap ? 0 : 0.6), cell - gap + (gap ? 0 : 0.6));
          }
        }
      }
      drawAxes(pen, tone, rows, columns);
      drawMarks(pen);
      cursor(pen, tone);
    }

    function corner(row, column) {
      return [box.left + column * box.cell, box.top + (box.rows - 1 - row) * box.cell];
    }

    function drawAxes(pen, tone, rows, columns) {
      const { left, top, cell } = box;
      const foot = top + box.rows * cell;
      pen.fillStyle = tone.ink;
      pen.font = "12px system-ui, sans-serif";
      const every = [1, 2, 4, 5, 8, 10, 20, 50].find((step) => step * cell >= 22) || 100;
      pen.textAlign = "center";
      pen.textBaseline = "top";
      for (let place = 0; place < columns.length; place += every) {
        pen.fillText(String(columns[place]), left + (place + 0.5) * cell, foot + 5);
      }
      pen.textAlign = "right";
      pen.textBaseline = "middle";
      for (let place = 0; place < rows.length; place += every) {
        pen.fillText(String(rows[place]), left - 6, foot - (place + 0.5) * cell);
      }
      pen.fillStyle = tone.quiet;
      pen.textAlign = "left";
      pen.textBaseline = "bottom";
      pen.fillText(`${data.columnLabel} →`, left, foot + 40);
      pen.save();
      pen.translate(14, foot);
      pen.rotate(-Math.PI / 2);
      pen.fillText(`${data.rowLabel} →`, 0, 0);
      pen.restore();
    }

    function drawMarks(pen) {
      const frame = group().frame;
      pen.textAlign = "center";
      pen.textBaseline = "middle";
      if (frame !== null) {
        pen.fillStyle = colours().ink;
        pen.font = "12px system-ui, sans-serif";
        pen.fillText(FRAME, box.left + (frame + 0.5) * box.cell, box.top - 9);
      }
      view().marks.forEach(([, row, column], place) => {
        const [x, y] = corner(row, column);
        pen.font = `${Math.max(15, Math.min(22, box.cell * 0.7))}px system-ui, sans-serif`;
        pen.lineWidth = 3;
        pen.strokeStyle = "#000";
        pen.fillStyle = "#fff";
        pen.strokeText(SYMBOLS[place], x + box.cell / 2, y + box.cell / 2);
        pen.fillText(SYMBOLS[place], x + box.cell / 2, y + box.cell / 2);
      });
    }

    function cursor(pen, tone) {
      const place = state.hover || [state.row, state.column];
      const [x, y] = corner(place[0], place[1]);
      for (const [colour, width] of [[tone.paper, 5], [tone.ink, 2.5]]) {
        pen.strokeStyle = colour;
        pen.lineWidth = width;
        pen.strokeRect(x - 1, y - 1, box.cell + 1, box.cell + 1);
      }
    }

    function drawLegend() {
      legend.replaceChildren();
      const quantity = data.quantities[state.quantity];
      if (now.part && now.part.verdict) {
        for (const [value, name] of [[1, "right"], [0, "wrong"]]) {
          const swatch = make("span", legend, { className: "explorer-swatch" });
          swatch.style.background = paint(value);
          make("span", legend, { textContent: name });
        }
      } else if (now.part) {
        const { low, high, centre } = now.range;
        const bar = make("canvas", legend, { "aria-hidden": "true" });
        const width = Math.max(120, Math.min(320, legend.clientWidth - 8));
        const pen = sized(bar, width, 12);
        for (let x = 0; x < width; x += 1) {
          pen.fillStyle = paint(low + (x / (width - 1)) * (high - low));
          pen.fillRect(x, 0, 1.5, 12);
        }
        const ends = make("div", legend, { className: "explorer-ends" });
        ends.style.width = `${width}px`;
        // Shares that cannot be are not written at the ends of a scale that is as long on both sides.
        const beyond = (value) => quantity.percent && (value < 0 || value > 1) ? "" : number(value, quantity, { bare: !quantity.percent });
        make("span", ends, { textContent: beyond(low) });
        if (centre !== null) {
          make("span", ends, { textContent: `${data.referenceLabel} ${number(centre, quantity)}` });
        }
        make("span", ends, { textContent: beyond(high) });
      }
      marks.replaceChildren();
      const names = view().marks.map(([name], place) => `${SYMBOLS[place]} ${name}`);
      if (group().frame !== null) names.push(`${FRAME} ${group().frameLabel}`);
      for (const name of names) make("span", marks, { textContent: name });
    }

    function tell() {
      const [row, column] = state.hover || [state.row, state.column];
      const place = row * group().columns.length + column;
      const where = `${data.rowLabel} ${group().rows[row]}, ${data.columnLabel} ${group().columns[column]}`;
      readout.replaceChildren();
      make("p", readout, { className: "explorer-where", textContent: where });
      const said = [where];
      const list = make("dl", readout);
      const add = (name, text, className = "") => {
        make("dt", list, { textContent: name });
        make("dd", list, { textContent: text, className, dir: className ? "auto" : "" });
      };
      data.quantities.forEach((quantity, which) => {
        const part = view().values[which];
        if (!part) return;
        const value = now.values[which][place];
        let text = number(value, quantity);
        if (part.verdict && !Number.isNaN(value)) text = value > 0.5 ? "right" : "wrong";
        else if (part.ref !== null && !Number.isNaN(value)) {
          text += ` (${number(value - part.ref, quantity, { signed: true, bare: !quantity.percent })})`;
        }
        add(quantity.name, text);
        if (which === state.quantity) said.push(`${quantity.name}: ${text}`);
      });
      if (now.codes && !Number.isNaN(now.codes[place])) {
        const text = view().texts[Math.round(now.codes[place])];
        add(data.codeLabel, text === "" ? "(empty)" : text, text === "" ? "" : "explorer-text");
        said.push(`${data.codeLabel}: ${text || "empty"}`);
      }
      view().marks.forEach(([name, markRow, markColumn], which) => {
        if (markRow === row && markColumn === column) add("mark", `${SYMBOLS[which]} ${name}`);
      });
      // What the mouse passes over is not read out.
      if (!state.hover) spoken.textContent = said.join("; ");
    }

    function cellAt(event) {
      const frame = canvas.getBoundingClientRect();
      const column = Math.floor((event.clientX - frame.left - box.left) / box.cell);
      const row = box.rows - 1 - Math.floor((event.clientY - frame.top - box.top) / box.cell);
      const inside = row >= 0 && column >= 0 && row < box.rows && column < box.columns;
      return inside ? [row, column] : null;
    }

    function hover(cell) {
      if (String(cell) === String(state.hover)) return;
      state.hover = cell;
      drawMap();
      tell();
    }

    canvas.addEventListener("mousemove", (event) => hover(cellAt(event)));
    canvas.addEventListener("mouseleave", () => hover(null));
    canvas.addEventListener("click", (event) => {
      const cell = cellAt(event);
      if (!cell) return;
      [state.row, state.column] = cell;
      state.hover = null;
      drawMap();
      tell();
    });
    field.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const moves = {
        ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1],
        Home: [0, -Infinity], End: [0, Infinity], PageUp: [Infinity, 0], PageDown: [-Infinity, 0],
      };
      const move = moves[event.key];
      if (!move) return;
      event.preventDefault();
      state.hover = null;
      state.row = Math.max(0, Math.min(box.rows - 1, state.row + move[0]));
      state.column = Math.max(0, Math.min(box.columns - 1, state.column + move[1]));
      drawMap();
      tell();
    });
    dark.addEventListener("change", refresh);
    let width = 0;
    new ResizeObserver(() => {
      if (field.clientWidth === width) return;
      width = field.clientWidth;
      refresh();
    }).observe(field);

    root.querySelector(".explorer-live").hidden = false;
    set({});
    const best = view().marks[view().marks.length - 1];
    if (best) {
      [, state.row, state.column] = best;
      refresh();
    }
  }

  if (typeof document !== "undefined") document.querySelectorAll(".explorer").forEach(start);
  if (typeof module !== "undefined") module.exports = { decode, number, scale };
})();
