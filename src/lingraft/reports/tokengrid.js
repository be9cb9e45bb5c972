"use strict";
// Arrow keys in the tables of tokens: one stop of the tab key each, and every cell is told as it is reached.
(() => {
  const MOVES = {
    ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1],
    Home: [0, -Infinity], End: [0, Infinity], PageUp: [-Infinity, 0], PageDown: [Infinity, 0],
  };

  function start(root) {
    const table = root.querySelector("table");
    const spoken = root.querySelector(".spoken");
    const rows = [...table.tBodies[0].rows].map((row) => [...row.cells].slice(1));
    const heads = [...table.tHead.rows[0].cells].slice(1);
    const frame = table.parentElement;
    let current = table.querySelector("td[tabindex]") || rows[0][0];
    for (const cell of rows.flat()) cell.tabIndex = -1;
    current.tabIndex = 0;
    // The cells scroll the frame, which needs no stop of its own.
    frame.removeAttribute("tabindex");
    table.setAttribute("role", "grid");
    table.setAttribute("aria-label", frame.getAttribute("aria-label"));
    root.querySelector(".tokengrid-hint").hidden = false;

    table.addEventListener("keydown", (event) => {
      const move = MOVES[event.key];
      if (!move || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      const row = rows.findIndex((cells) => cells.includes(current));
      const column = rows[row].indexOf(current);
      const clamp = (place, size) => Math.max(0, Math.min(size - 1, place));
      rows[clamp(row + move[0], rows.length)][clamp(column + move[1], heads.length)].focus();
    });
    table.addEventListener("focusin", (event) => {
      const cell = event.target.closest("td");
      if (!cell) return;
      current.tabIndex = -1;
      current = cell;
      current.tabIndex = 0;
      const name = `layer ${cell.parentElement.cells[0].textContent}`;
      const choices = cell.lastElementChild.textContent.split("\n").map((line) => line.trim().replace(/\s+/g, " "));
      spoken.textContent = `${name}, ${heads[cell.cellIndex - 1].textContent}: ${choices.join("; ")}`;
    });
  }

  document.querySelectorAll(".tokengrid").forEach(start);
})();
