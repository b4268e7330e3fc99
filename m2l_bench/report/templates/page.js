const PAPER = 1000; // CSS pixels that a printed line has, at least

/* ---- heads that sort: the best value first, then the worst, then as before ---- */

// Calls `sort(column, direction)`: 1 ascending, -1 descending, 0 as at first. Returns what sorts likewise without a click.
function sortable(head, sort) {
  const cells = [...head.children];
  const order = (column, direction) => {
    for (const cell of cells) cell.removeAttribute("aria-sort");
    if (direction) cells[column].setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    sort(column, direction);
  };
  cells.forEach((cell, column) => {
    const first = bestFirst(cell);
    const states = [first, -first, 0];
    cell.addEventListener("click", (event) => {
      if (event.target.closest("a")) return;
      const now = { ascending: 1, descending: -1 }[cell.getAttribute("aria-sort")] ?? 0;
      order(column, states[(states.indexOf(now) + 1) % 3]);
    });
  });
  return order;
}

const bestFirst = (cell) => (cell.dataset.better === "true" ? -1 : 1);

const collator = new Intl.Collator("en", { numeric: true });

// Numbers or names in order; what has no value comes last in both directions.
function compared(a, b, direction) {
  if (a === null || b === null) return (a === null) - (b === null);
  return direction * (typeof a === "string" ? collator.compare(a, b) : a - b);
}

// The lines of a group stay in it.
function sortTable(table) {
  const groups = [...table.tBodies].map((body) => ({ body, lines: [...body.querySelectorAll("tr:not(.group)")] }));
  const valueOf = (line, column) => {
    if (column === 0) return line.cells[0].dataset.name ?? line.cells[0].textContent;
    const value = line.cells[column].dataset.value;
    return value === undefined ? null : Number(value);
  };
  return sortable(table.tHead.rows[0], (column, direction) => {
    for (const { body, lines } of groups) {
      const sorted = [...lines];
      if (direction) sorted.sort((a, b) => compared(valueOf(a, column), valueOf(b, column), direction));
      body.append(...sorted);
    }
  });
}

/* ---- a cell in words, and arrow keys from cell to cell ---- */

const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

function walk(table) {
  table.addEventListener("keydown", (event) => {
    const cell = event.target.closest("th, td");
    const step = STEPS[event.key];
    if (!cell || !step) return;
    const lines = [...table.querySelectorAll("tr:not(.group, [hidden])")];
    const line = lines[lines.indexOf(cell.parentNode) + step[0]];
    let column = cell.cellIndex + step[1];
    while (line?.cells[column]?.hidden) column += step[1];
    const next = line?.cells[column];
    event.preventDefault();
    if (next) enter(next);
  });
  table.addEventListener("click", (event) => {
    const cell = event.target.closest("tbody td");
    if (cell && !event.target.closest("button, a")) enter(cell);
  });
  const words = table.closest("section").querySelector(".words");
  table.addEventListener("focusin", (event) => {
    words.textContent = event.target.title ?? "";
  });
}

// A head's button takes the focus for its cell; other cells take it themselves, and are no stop of the tab key.
function enter(cell) {
  const target = cell.querySelector("button") ?? cell;
  if (target === cell) cell.tabIndex = -1;
  target.focus({ preventScroll: true });
  showWithin(cell.closest(".scroll"), cell);
  cell.scrollIntoView({ block: "nearest", inline: "nearest" });
}

// Scrolls the box until the cell is beside its sticky column.
function showWithin(box, cell) {
  const sticky = cell.parentNode.cells[0];
  if (cell === sticky) return;
  const hidden = sticky.getBoundingClientRect().right - cell.getBoundingClientRect().left;
  if (hidden > 0) box.scrollLeft -= hidden;
}

const orders = new Map(); // table -> what sorts it
for (const table of document.querySelectorAll("table.sortable")) {
  orders.set(table, sortTable(table));
  walk(table);
}

/* ---- paper: all is open, and wide tables become as narrow as a page ---- */

const closed = [...document.querySelectorAll("details")];
window.addEventListener("beforeprint", () => {
  for (const table of document.querySelectorAll("table.sortable")) table.style.zoom = Math.min(1, PAPER / table.offsetWidth);
  for (const details of closed) details.dataset.open = details.open;
  for (const details of closed) details.open = true;
});
window.addEventListener("afterprint", () => {
  for (const table of document.querySelectorAll("table.sortable")) table.style.zoom = "";
  for (const details of closed) details.open = details.dataset.open === "true";
});
