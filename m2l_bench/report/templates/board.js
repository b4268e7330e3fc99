/* ---- filters: which part, metric and systems are shown; ranks are those among the systems shown ---- */

const parts = [...document.querySelectorAll(".part")];
const filters = [...document.querySelectorAll(".filter")];

// Whether a system is what every filter asks for; `bits` depends on the part.
function isChosen(system, place) {
  return filters.every((select) => {
    const has = select.id === "bits" ? data.sections[place].bits[system] : data.systems[system][select.id];
    return select.value === "" || has.includes(select.value);
  });
}

// A range from 1 + number of systems that are better to n - number of those that are worse.
function rankText(system, better, shownSystems) {
  const first = 1 + shownSystems.filter((other) => better[other].includes(system)).length;
  const last = shownSystems.length - shownSystems.filter((other) => better[system].includes(other)).length;
  return first < last ? `${first}–${last}` : `${first}`;
}

function rankColumn(lines, column, better) {
  const systems = lines.filter((line) => !line.hidden && line.dataset.system in better).map((line) => Number(line.dataset.system));
  for (const line of lines) {
    const cell = line.cells[Number(column) + 1];
    const mark = cell.querySelector(".rank");
    if (!mark || line.hidden) continue;
    mark.textContent = rankText(Number(line.dataset.system), better, systems);
    cell.dataset.words ??= cell.title;
    cell.title = `${cell.dataset.words}; rank ${mark.textContent} of ${systems.length}`;
  }
}

function show() {
  const place = Number($("part").value);
  parts.forEach((part, at) => { part.hidden = at !== place; });
  const part = parts[place];
  const lines = [...part.querySelectorAll(".ranked tr[data-system]")];
  for (const line of lines) line.hidden = !isChosen(Number(line.dataset.system), place);
  for (const [column, better] of Object.entries(data.sections[place].better)) rankColumn(lines, column, better);
  const metric = $("metric").value;
  for (const row of part.querySelectorAll("thead tr, tr[data-system]"))
    [...row.cells].forEach((cell, at) => { cell.hidden = at > 0 && metric !== "" && at !== Number(metric); });
  const asked = filters
    .filter((select) => select.value !== "")
    .map((select) => ` ${select.parentNode.firstChild.textContent.trim()}: ${plain(select.value)}.`);
  $("status").textContent = `${lines.filter((line) => !line.hidden).length} of ${lines.length} systems shown.${asked.join("")}`;
}

// The metrics of a part; the same title stays chosen where the new part has it.
function fillMetrics() {
  const select = $("metric");
  const before = select.selectedOptions[0]?.textContent;
  const heads = [...parts[Number($("part").value)].querySelectorAll("thead th")].slice(1);
  const titles = heads.map((head) => head.querySelector("button").textContent);
  select.replaceChildren(element("option", { value: "" }, "all"));
  select.append(...titles.map((title, at) => element("option", { value: at + 1 }, title)));
  select.value = titles.includes(before) ? String(titles.indexOf(before) + 1) : "";
}

function sortByMetric() {
  const column = Number($("metric").value);
  const table = parts[Number($("part").value)].querySelector("table");
  if (column) orders.get(table)(column, bestFirst(table.tHead.rows[0].cells[column]));
}

if (parts.length) {
  $("controls").hidden = false;
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("part").addEventListener("change", () => { fillMetrics(); sortByMetric(); show(); });
  $("metric").addEventListener("change", () => { sortByMetric(); show(); });
  for (const select of filters) select.addEventListener("change", show);
  $("reset").addEventListener("click", () => {
    for (const select of [...filters, $("metric")]) select.value = "";
    show();
  });
  fillMetrics();
  show();
}
