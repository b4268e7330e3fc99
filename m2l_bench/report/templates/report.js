const CHUNK = 100; // lines of files made at a time

/* ---- scores of files: the data of a dataset are loaded when it is shown ---- */

const systemNames = data.systems.map(plain);
const loaded = new Map(); // number of a dataset -> its scores
let view = null; // what is shown: scores, metric, columns (systems) and lines (files)
let made = 0; // lines made so far
window.m2lFiles = (index, content) => loaded.set(index, content);

function loadDataset(index) {
  return new Promise((resolve, reject) => {
    if (loaded.has(index)) {
      resolve();
      return;
    }
    const script = element("script", { src: `report/files/${index}.js` });
    script.onload = resolve;
    script.onerror = () => reject(new Error(`report/files/${index}.js is missing: keep the page and report/ together`));
    document.head.append(script);
  });
}

const chosen = (id) => Number($(id).value);

function fillMetrics() {
  const metrics = data.datasets[chosen("dataset")].metrics;
  $("metric").replaceChildren(...metrics.map((metric, at) => element("option", { value: at }, plain(metric.title))));
}

async function showFiles() {
  const index = chosen("dataset");
  $("status").textContent = "Loading ...";
  try {
    await loadDataset(index);
  } catch (error) {
    $("status").textContent = error.message;
    return;
  }
  if (index === chosen("dataset")) makeTable(loaded.get(index), chosen("metric"));
}

function makeTable(scores, at) {
  const metric = data.datasets[chosen("dataset")].metrics[at];
  const values = scores.values[at];
  const failed = new Map(scores.failed[at].map(([item, system, reason]) => [`${item}/${system}`, reason]));
  const known = (item) => data.systems.some((_, s) => values[s][item] !== null || failed.has(`${item}/${s}`));
  const columns = data.systems.map((_, s) => s).filter((s) => values[s].some((value) => value !== null) || scores.failed[at].some((f) => f[1] === s));
  const lines = scores.items.map((_, item) => item).filter(known);
  const outliers = scores.outliers[at].map((places) => new Set(places));
  const clips = new Map(scores.clips.map((clip) => [clip.item, clip]));
  const sizes = columns.flatMap((s) => values[s].filter((value) => value !== null).map(Math.abs)).sort((a, b) => a - b);
  const digits = digitsOf(sizes[Math.floor(sizes.length / 2)] ?? 0); // one number of decimals: the digits stand below each other
  view = { scores, values, failed, outliers, clips, columns, lines, original: lines, digits };
  const better = JSON.stringify(metric.better);
  const heads = columns.map((s) => [systemNames[s], { scope: "col", "data-better": better }]);
  $("head").replaceChildren(...[["file", { scope: "col" }], ...heads].map(([name, attributes]) => {
    const head = element("th", attributes);
    head.append(element("button", { type: "button" }, breakable(name)));
    return head;
  }));
  sortable($("head"), (column, direction) => {
    const valueOf = (item) => (column ? values[columns[column - 1]][item] : scores.items[item]);
    view.lines = direction ? [...view.original].sort((a, b) => compared(valueOf(a), valueOf(b), direction) || a - b) : view.original;
    restart();
  });
  const marked = columns.reduce((sum, s) => sum + outliers[s].size, 0);
  const name = plain(data.datasets[chosen("dataset")].name);
  $("caption").textContent = `${name}: ${plain(metric.title)} of each file`;
  $("status").textContent = `${lines.length} files, ${marked} outliers, ${failed.size} scores failed.`;
  restart();
}

function restart() {
  made = 0;
  $("rows").replaceChildren();
  makeLines();
}

function makeLines() {
  const several = view.lines.slice(made, made + CHUNK).map(makeLine);
  $("rows").append(...several);
  made += several.length;
  $("more").hidden = made >= view.lines.length;
}

function makeLine(item) {
  const name = plain(view.scores.items[item]);
  const clip = view.clips.get(item);
  const line = element("tr");
  const head = element("th", { scope: "row" }, name);
  if (clip?.reference) head.append(playButton(clip.reference, "original", name));
  if (clip && data.listen) {
    const link = { href: `report/listen/index.html?clip=${clip.number}`, "aria-label": `Listen to ${name} on the listening page` };
    head.append(" ", element("a", link, "listen"));
  }
  line.append(head, ...view.columns.map((s) => makeCell(item, s, name, clip)));
  return line;
}

function makeCell(item, s, name, clip) {
  const value = view.values[s][item];
  const reason = view.failed.get(`${item}/${s}`);
  const cell = element("td");
  if (reason !== undefined && value === null) cell.append(element("span", { class: "failed", title: plain(reason) }, "failed"));
  else cell.append(shown(value, view.digits));
  if (view.outliers[s].has(item)) {
    const mark = element("span", { class: "outlier", role: "img", "aria-label": "outlier", title: "outlier" }, "◆");
    cell.prepend(mark, " ");
  }
  if (clip?.systems[s]) cell.append(playButton(clip.systems[s], systemNames[s], name));
  return cell;
}

function playButton(address, who, name) {
  const button = element("button", { type: "button", class: "play", "aria-pressed": false, "aria-label": `Play ${who}, ${name}` }, "▶");
  button.addEventListener("click", () => play(button, address, `${who}, ${name}`));
  return button;
}

// Another system of the same file goes on where the last one was.
function play(button, address, what) {
  const audio = $("audio");
  const again = audio.getAttribute("src") === address;
  if (again && !audio.paused) {
    audio.pause();
    return;
  }
  if (!again) {
    const folder = (path) => path?.slice(0, path.lastIndexOf("/"));
    const at = folder(audio.getAttribute("src")) === folder(address) && !audio.ended ? audio.currentTime : 0;
    audio.src = address;
    audio.currentTime = at;
  }
  for (const other of document.querySelectorAll(".play[aria-pressed=true]")) other.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-pressed", "true");
  $("player").hidden = false;
  $("playing").textContent = what;
  audio.play().catch((error) => {
    if (error.name !== "AbortError") $("playing").textContent = `${what} cannot be played: ${error.message}`;
  });
}

if (data.datasets.length) {
  $("dataset").append(...data.datasets.map((set, at) => element("option", { value: at }, `${plain(set.name)} (${set.files} files)`)));
  fillMetrics();
  $("dataset").addEventListener("change", () => {
    fillMetrics();
    showFiles();
  });
  $("metric").addEventListener("change", showFiles);
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("more").addEventListener("click", makeLines);
  for (const event of ["pause", "ended"])
    $("audio").addEventListener(event, () => {
      for (const button of document.querySelectorAll(".play[aria-pressed=true]")) button.setAttribute("aria-pressed", "false");
    });
  const near = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    near.disconnect();
    showFiles();
  }, { rootMargin: "600px" });
  near.observe($("files"));
}
