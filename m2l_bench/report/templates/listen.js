const FADE = 0.01; // seconds of crossfade when switching
const LEAD = 0.05; // seconds between asking the sources to start and their common start
const CHUNK = 40; // rows made at a time
const MANY = 10; // columns; the names of more are turned
const ARROW = 0.5; // seconds that an arrow key moves the cursor
const phone = matchMedia("(max-width: 720px)");

const systemNames = data.systems.map(plain);
const clipNames = data.clips.map((clip) => plain(clip.id));

/* ---- the player: one source for each stimulus, all started together and switched by their gains ---- */

// Starts every buffer at `when`, `offset` seconds in; only `current` is audible.
function startTogether(context, buffers, { when, offset, current, loop = null }) {
  const master = context.createGain();
  master.gain.setValueAtTime(0, when);
  master.gain.linearRampToValueAtTime(1, when + FADE / 2);
  master.connect(context.destination);
  const tracks = buffers.map((buffer, index) => {
    if (!buffer) return null;
    const source = context.createBufferSource();
    const gain = context.createGain();
    source.buffer = buffer;
    if (loop) Object.assign(source, { loop: true, loopStart: loop[0], loopEnd: loop[1] });
    gain.gain.value = index === current ? 1 : 0;
    source.connect(gain).connect(master);
    source.start(when, offset);
    return { source, gain };
  });
  return { master, tracks };
}

// Linear, because the systems' signals are nearly equal and their sum keeps its level.
function crossfade(tracks, current, at) {
  tracks.forEach((track, index) => {
    if (!track) return;
    const gain = track.gain.gain;
    if (gain.cancelAndHoldAtTime) gain.cancelAndHoldAtTime(at);
    else {
      gain.cancelScheduledValues(at);
      gain.setValueAtTime(gain.value, at);
    }
    gain.linearRampToValueAtTime(index === current ? 1 : 0, at + FADE);
  });
}

function scaled(context, buffer, gain, length) {
  const out = context.createBuffer(buffer.numberOfChannels, length, buffer.sampleRate);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    const from = buffer.getChannelData(channel);
    const to = out.getChannelData(channel);
    for (let i = 0; i < Math.min(length, from.length); i++) to[i] = from[i] * gain;
  }
  return out;
}

// Least and largest sample of each of `n` equal parts of a buffer, over all channels: [least, largest, least, ...].
function extremes(buffer, n) {
  const found = new Float32Array(2 * n);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    const samples = buffer.getChannelData(channel);
    for (let i = 0; i < samples.length; i++) {
      const at = 2 * Math.floor((i * n) / samples.length);
      if (samples[i] < found[at]) found[at] = samples[i];
      else if (samples[i] > found[at + 1]) found[at + 1] = samples[i];
    }
  }
  return [...found];
}

const player = {
  context: null,
  graph: null,
  clip: -1, // index into data.clips
  raw: [], // decoded audio, original first
  gains: [],
  buffers: [], // with gains applied
  peak: 1, // largest magnitude of all buffers
  current: 0,
  offset: 0, // where playing (re)started, in seconds
  startedAt: 0, // on the context's clock
  loop: null,
  loopOn: false,

  get duration() {
    return this.buffers[0] ? this.buffers[0].duration : 0;
  },
  get playing() {
    return this.graph !== null;
  },
  activeLoop() {
    if (!this.loopOn) return null;
    return this.loop || [0, this.duration];
  },
  position() {
    if (!this.playing) return this.offset;
    const at = this.offset + Math.max(0, this.context.currentTime - this.startedAt);
    const loop = this.activeLoop();
    if (!loop || at < loop[1]) return Math.min(at, this.duration);
    return loop[0] + ((at - loop[0]) % (loop[1] - loop[0]));
  },
  // Must be called from a user gesture; phones block audio otherwise.
  wake(rate) {
    if (this.context && this.context.wantedRate !== rate) {
      this.context.close();
      this.context = null;
    }
    if (!this.context) {
      try {
        this.context = new AudioContext({ sampleRate: rate }); // no resampling: every sample as it was written
      } catch {
        this.context = new AudioContext();
      }
      this.context.wantedRate = rate;
    }
    return this.context.resume();
  },
  async open(index) {
    this.stop();
    this.clip = index;
    this.offset = 0;
    this.loop = null;
    this.buffers = [];
    const content = await loadClip(index);
    const raw = await Promise.all(
      content.audio.map((url) => (url ? this.context.decodeAudioData(bytesOf(url)) : null)),
    );
    if (this.clip !== index) return false; // another clip was opened meanwhile
    this.raw = raw;
    this.gains = content.gain;
    this.level();
    return true;
  },
  level() {
    const equal = $("level").checked;
    const length = this.raw[0].length;
    this.buffers = this.raw.map((buffer, i) => buffer && scaled(this.context, buffer, equal ? this.gains[i] : 1, length));
    this.peak = Math.max(1e-6, ...this.buffers.flatMap((buffer) => (buffer ? extremes(buffer, 1) : [])).map(Math.abs));
  },
  start() {
    this.stop();
    if (this.offset >= this.duration - 0.01) this.offset = 0;
    const loop = this.activeLoop();
    if (loop && (this.offset < loop[0] || this.offset >= loop[1])) this.offset = loop[0];
    this.startedAt = this.context.currentTime + LEAD;
    const graph = startTogether(this.context, this.buffers, {
      when: this.startedAt,
      offset: this.offset,
      current: this.current,
      loop,
    });
    graph.tracks[0].source.onended = () => {
      if (this.graph !== graph) return;
      this.stop();
      this.offset = 0;
      refreshPlayer();
    };
    this.graph = graph;
  },
  stop() {
    if (!this.graph) return;
    this.offset = this.position();
    const graph = this.graph;
    this.graph = null;
    for (const track of graph.tracks) if (track) track.source.stop();
    graph.master.disconnect();
  },
  seek(seconds) {
    const playing = this.playing;
    this.stop();
    this.offset = Math.min(Math.max(0, seconds), this.duration);
    if (playing) this.start();
  },
  restart() {
    this.seek(this.position());
  },
  select(current) {
    this.current = current;
    if (this.graph) crossfade(this.graph.tracks, current, this.context.currentTime);
  },
};

const waiting = new Map();
window.m2lClip = (index, content) => {
  waiting.get(index)?.(content);
  waiting.delete(index);
};

function loadClip(index) {
  return new Promise((resolve, reject) => {
    const script = element("script", { src: `clips/${index}.js` });
    waiting.set(index, resolve);
    script.onload = () => script.remove();
    script.onerror = () => reject(new Error(`clips/${index}.js is missing: keep the page's folder together`));
    document.head.append(script);
  });
}

function bytesOf(url) {
  const text = atob(url.slice(url.indexOf(",") + 1));
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes.buffer;
}

/* ---- stimuli: stimulus 0 is the open original; blind, the others are shuffled and hold the original too ---- */

const session = location.hash.slice(1) || Array.from(crypto.getRandomValues(new Uint32Array(2)), (n) => n.toString(36)).join("");
let blind = false;
const ratings = new Map(); // "clip/track" -> 0..100

// A seeded generator (mulberry32): the name of a session determines its order.
function randomOf(text) {
  let seed = 2166136261;
  for (const sign of text) seed = Math.imul(seed ^ sign.codePointAt(0), 16777619);
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// The tracks of a clip in the order of its columns: 0 is the original, s + 1 is system s.
function stimuli(clip) {
  const tracks = [0, ...data.systems.map((_, s) => s + 1)];
  if (!blind) return tracks;
  const hidden = tracks.filter((track) => track === 0 || data.clips[clip].has[track - 1]);
  const random = randomOf(`${session}/${data.clips[clip].dataset}/${data.clips[clip].id}`);
  for (let i = hidden.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [hidden[i], hidden[j]] = [hidden[j], hidden[i]];
  }
  return [0, ...hidden];
}

const letter = (n) => (n < 26 ? String.fromCharCode(65 + n) : `${letter(Math.floor(n / 26) - 1)}${letter(n % 26)}`);

function nameOf(clip, place) {
  if (place === 0) return "original";
  return blind ? `sample ${letter(place - 1)}` : systemNames[stimuli(clip)[place] - 1];
}

// Track that begins a group of systems -> name of the group; blind, there are none.
function groupStarts() {
  const starts = new Map();
  let track = 0;
  for (const [name, columns] of blind ? [] : data.groups) {
    starts.set(track, name);
    track += columns;
  }
  return starts;
}

/* ---- the table ---- */

let order = []; // indices of the clips shown
let made = 0; // rows made so far
let place = 0; // column that is playing: an index into the stimuli
const [PLAY, PAUSE] = ["▶\ufe0e", "❚❚"];

const metricIndex = () => Math.max(0, data.metrics.findIndex((m) => m.name === $("metric").value));
const metric = () => data.metrics[metricIndex()];

function scoreOf(clip, track) {
  return track > 0 && data.metrics.length ? data.clips[clip].scores[metricIndex()][track - 1] : null;
}

function withUnit(value) {
  return `${metric().title} ${shown(value)}${metric().unit ? ` ${metric().unit}` : ""}`;
}

// One number for each clip: of the chosen system, or the mean over systems.
function sortValue(clip) {
  if (!data.metrics.length) return null;
  const scores = data.clips[clip].scores[metricIndex()];
  const by = Number($("by").value);
  if (by >= 0) return scores[by];
  const known = scores.filter((score) => score !== null);
  return known.length ? known.reduce((a, b) => a + b) / known.length : null;
}

function byScore(worstFirst) {
  const sign = (metric()?.better === false ? -1 : 1) * (worstFirst ? 1 : -1);
  const values = data.clips.map((_, clip) => sortValue(clip));
  const known = values.flatMap((value, clip) => (value === null ? [] : [clip]));
  const unknown = values.flatMap((value, clip) => (value === null ? [clip] : []));
  return [...known.sort((a, b) => sign * (values[a] - values[b]) || a - b), ...unknown];
}

function chosenClips() {
  const all = data.clips.map((_, clip) => clip);
  const collator = new Intl.Collator("en", { numeric: true });
  const orders = {
    data: () => all,
    worst: () => byScore(true),
    best: () => byScore(false),
    name: () => all.sort((a, b) => collator.compare(data.clips[a].id, data.clips[b].id) || a - b),
  };
  const sorted = orders[$("order").value]();
  if ($("show").value === "all") return sorted;
  const ranked = byScore(true).filter((clip) => sortValue(clip) !== null);
  const middle = Math.max(0, Math.floor(ranked.length / 2) - 1);
  const kept = new Set([...ranked.slice(0, 3), ...ranked.slice(middle, middle + 3), ...ranked.slice(-3)]);
  return sorted.filter((clip) => kept.has(clip));
}

function makeTable() {
  order = chosenClips();
  made = 0;
  const columns = blind ? Math.max(0, ...data.clips.map((_, clip) => stimuli(clip).length)) : data.systems.length + 1;
  const names = ["clip", "original"];
  for (let i = 1; i < columns; i++) names.push(blind ? `sample ${letter(i - 1)}` : systemNames[i - 1]);
  const starts = groupStarts();
  $("groups").replaceChildren(...(starts.size ? [element("td", { role: "cell" })] : []));
  for (const [name, columns] of starts.size ? data.groups : [])
    $("groups").append(element("th", { scope: "colgroup", role: "columnheader", colspan: columns, class: "begins" }, name));
  $("head").replaceChildren(...names.map((name, column) => {
    const head = element("th", { scope: "col", role: "columnheader" });
    head.append(element("span", {}, breakable(name)));
    head.classList.toggle("begins", starts.has(column - 1));
    return head;
  }));
  $("clips").classList.toggle("many", columns > MANY);
  $("rows").replaceChildren();
  const count = `${order.length} of ${data.clips.length} clips`;
  const arrow = { true: ", higher is better", false: ", lower is better" }[metric()?.better] ?? "";
  $("caption").textContent = blind || !data.metrics.length ? `${count}.` : `${count}. Numbers: ${metric().title}${metric().unit ? ` (${metric().unit})` : ""}${arrow}.`;
  makeRows();
}

function makeRows() {
  const rows = order.slice(made, made + CHUNK).map(makeRow);
  $("rows").append(...rows);
  made += rows.length;
  $("more").hidden = made >= order.length;
  markOpen();
}

function makeRow(clip) {
  const row = element("tr", { role: "row", "data-clip": clip });
  row.append(element("th", { scope: "row", role: "rowheader", title: clipNames[clip] }, clipNames[clip]));
  const starts = groupStarts();
  stimuli(clip).forEach((track, at) => {
    const cell = makeCell(clip, track, at);
    if (starts.has(track)) {
      cell.classList.add("begins");
      cell.dataset.group = starts.get(track);
    }
    row.append(cell);
  });
  return row;
}

function makeCell(clip, track, at) {
  const cell = element("td", { role: "cell" });
  const name = nameOf(clip, at);
  if (track > 0 && !data.clips[clip].has[track - 1]) {
    cell.className = "none";
    cell.append(element("span", { class: "name" }, breakable(name)), element("span", {}, "failed"));
    return cell;
  }
  const score = blind ? null : scoreOf(clip, track);
  const label = `Play ${name}, ${clipNames[clip]}${score === null ? "" : `, ${withUnit(score)}`}`;
  const button = element("button", { type: "button", "aria-label": label, "aria-pressed": false, "data-place": at });
  button.append(element("span", { class: "name" }, breakable(name)), element("span", { class: "sign" }, PLAY), score === null ? "" : ` ${shown(score)}`);
  button.addEventListener("click", () => (button.getAttribute("aria-pressed") === "true" ? toggle() : playTrack(clip, at)));
  cell.append(button);
  if (blind && at > 0) cell.append(...ratingOf(clip, track, name));
  return cell;
}

function ratingOf(clip, track, name) {
  const key = `${clip}/${track}`;
  const given = ratings.get(key);
  const slider = element("input", { type: "range", min: 0, max: 100, step: 1, "aria-label": `Rating of ${name}, ${clipNames[clip]}` });
  const output = element("output");
  const show = (rating) => {
    slider.classList.toggle("unrated", rating === undefined);
    slider.setAttribute("aria-valuetext", rating ?? "not rated");
    output.textContent = rating ?? "–";
  };
  slider.value = given ?? 50;
  show(given);
  const rate = () => {
    ratings.set(key, Number(slider.value));
    show(slider.value);
    countRatings();
  };
  slider.addEventListener("input", rate);
  slider.addEventListener("pointerup", rate); // a touch that leaves the slider in the middle counts too
  return [slider, output];
}

function countRatings() {
  const samples = data.clips.reduce((sum, _, clip) => sum + stimuli(clip).length - 1, 0);
  $("rated").textContent = `${ratings.size} of ${samples} rated`;
  $("csv").disabled = ratings.size === 0;
}

/* ---- actions of the buttons ---- */

function say(text) {
  $("status").textContent = text;
}

async function playTrack(clip, at, trialOf = "") {
  trial.playing = trialOf;
  for (const id of ["a", "b", "x"]) $(`play_${id}`).classList.toggle("on", id === trialOf);
  place = at;
  player.current = stimuli(clip)[at];
  const woken = player.wake(data.clips[clip].rate);
  if (clip === player.clip && player.buffers.length) {
    await woken;
    player.select(player.current);
    if (!player.playing) player.start();
    refreshPlayer();
    return;
  }
  $("player").hidden = false;
  say("Loading ...");
  try {
    const opened = player.open(clip);
    makeAxis();
    refreshPlayer();
    makeStimuli();
    if (!(await opened)) return;
    await woken;
    newTrial();
    player.start();
    say("");
  } catch (error) {
    say(`This clip cannot be played: ${error.message}`);
  }
  refreshPlayer();
}

function makeStimuli() {
  const starts = groupStarts();
  const buttons = stimuli(player.clip).map((track, at) => {
    const button = element("button", { type: "button", role: "radio", "data-place": at }, nameOf(player.clip, at));
    button.disabled = track > 0 && !data.clips[player.clip].has[track - 1];
    button.addEventListener("click", () => playTrack(player.clip, at));
    return starts.has(track) ? [element("span", { class: "begins" }, starts.get(track)), button] : [button];
  });
  $("stimuli").replaceChildren(...buttons.flat());
  for (const id of ["abxa", "abxb"]) {
    const before = $(id).selectedIndex;
    $(id).replaceChildren(...buttons.map((_, at) => element("option", { value: at }, nameOf(player.clip, at))));
    $(id).selectedIndex = before >= 0 && before < buttons.length ? before : Math.min(id === "abxa" ? 0 : 1, buttons.length - 1);
  }
}

const stimulusButtons = () => $("stimuli").querySelectorAll("button");

function refreshPlayer() {
  if (player.clip < 0) return;
  const who = hidingX() ? "X" : nameOf(player.clip, place);
  $("what").replaceChildren(element("strong", {}, who), ` ${clipNames[player.clip]}`);
  $("play").classList.toggle("playing", player.playing);
  $("play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
  $("loop").setAttribute("aria-pressed", String(player.loopOn));
  for (const button of stimulusButtons()) {
    const on = Number(button.dataset.place) === place && !hidingX();
    button.setAttribute("aria-checked", String(on));
    button.tabIndex = on || (hidingX() && button === stimulusButtons()[0]) ? 0 : -1;
    if (on) showWithin($("stimuli"), button);
  }
  const image = $("spectrogram");
  const hide = blind || hidingX();
  image.hidden = hide;
  const source = `spectrograms/${player.clip}-${player.current}.png`;
  if (hide) image.removeAttribute("src");
  else if (image.getAttribute("src") !== source) image.setAttribute("src", source);
  image.alt = hide ? "" : `Spectrogram of ${who}, ${clipNames[player.clip]}`;
  $("axis").hidden = hide;
  drawWaveform(hide ? 0 : player.current, hide ? "original" : who);
  $("seek").max = player.duration || 1;
  $("region").hidden = !player.loop;
  if (player.loop) {
    $("region").style.left = `${(100 * player.loop[0]) / player.duration}%`;
    $("region").style.width = `${(100 * (player.loop[1] - player.loop[0])) / player.duration}%`;
  }
  markOpen();
  showTime();
}

function makeAxis() {
  const ticks = data.ticks[data.clips[player.clip].rate];
  $("axis").replaceChildren(...ticks.map(([at, kilohertz]) => {
    const tick = element("span", {}, `${kilohertz} kHz`);
    tick.style.bottom = `${100 * at}%`;
    return tick;
  }));
}

// All systems of a clip have one scale. What is hidden is drawn as the original, which keeps the cursor's place known.
function drawWaveform(track, name) {
  const canvas = $("waveform");
  canvas.setAttribute("aria-label", `Waveform of ${name}, ${clipNames[player.clip]}`);
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = width;
  canvas.height = height;
  const buffer = player.buffers[track];
  if (!buffer || !width) return;
  const drawing = canvas.getContext("2d");
  drawing.fillStyle = "#fec287"; // of the spectrogram's colours
  const levels = extremes(buffer, width).map((level) => ((1 - level / player.peak) * height) / 2);
  for (let x = 0; x < width; x++) drawing.fillRect(x, levels[2 * x + 1], 1, Math.max(1, levels[2 * x] - levels[2 * x + 1]));
}

// Scrolls the box only, not the page.
function showWithin(box, child) {
  const left = child.offsetLeft - box.offsetLeft;
  if (left < box.scrollLeft) box.scrollLeft = left;
  else if (left + child.offsetWidth > box.scrollLeft + box.clientWidth) box.scrollLeft = left + child.offsetWidth - box.clientWidth;
}

function markOpen() {
  for (const row of $("rows").children) {
    const open = Number(row.dataset.clip) === player.clip;
    row.classList.toggle("open", open);
    for (const button of row.querySelectorAll("button[data-place]")) {
      const on = open && !hidingX() && Number(button.dataset.place) === place;
      button.classList.toggle("on", on);
      button.setAttribute("aria-pressed", String(on && player.playing));
      button.querySelector(".sign").textContent = on && player.playing ? PAUSE : PLAY;
    }
  }
}

function showTime() {
  const at = player.position();
  $("time").textContent = `${at.toFixed(1)} / ${(player.duration || 0).toFixed(1)} s`;
  $("seek").value = at;
  $("seek").setAttribute("aria-valuetext", `${at.toFixed(1)} seconds`);
}

function tick() {
  if (player.playing) showTime();
  requestAnimationFrame(tick);
}

async function toggle() {
  if (player.clip < 0) {
    if (order.length) await playTrack(order[0], 0);
    return;
  }
  if (!player.buffers.length) return;
  if (player.playing) player.stop();
  else {
    await player.wake(data.clips[player.clip].rate);
    player.start();
  }
  refreshPlayer();
}

function step(direction) {
  if (player.clip < 0) return;
  const tracks = stimuli(player.clip);
  for (let at = place + direction; at >= 0 && at < tracks.length; at += direction)
    if (tracks[at] === 0 || data.clips[player.clip].has[tracks[at] - 1]) {
      playTrack(player.clip, at);
      return;
    }
}

function stepClip(direction) {
  const at = order.indexOf(player.clip) + direction;
  if (at < 0 || at >= order.length) return;
  while (made <= at) makeRows();
  playTrack(order[at], Math.min(place, stimuli(order[at]).length - 1));
  $("rows").children[at].scrollIntoView({ block: "center" });
}

// The report links to single clips: ?clip=3.
function showClip(clip) {
  const at = clip === null ? -1 : order.indexOf(Number(clip));
  if (at < 0) return;
  while (made <= at) makeRows();
  const row = $("rows").children[at];
  row.scrollIntoView({ block: "center" });
  row.querySelector("button").focus({ preventScroll: true });
}

function setLoop(start, end) {
  if (end - start < 0.1) {
    say("A loop must last at least 0.1 s.");
    return;
  }
  player.loop = [start, end];
  player.loopOn = true;
  say(`Loop from ${start.toFixed(1)} to ${end.toFixed(1)} s.`);
  if (player.playing) player.restart();
  refreshPlayer();
}

const loopStart = () => player.buffers.length && setLoop(player.position(), player.loop && player.loop[1] > player.position() ? player.loop[1] : player.duration);
const loopEnd = () => player.buffers.length && setLoop(player.loop && player.loop[0] < player.position() ? player.loop[0] : 0, player.position());

function toggleLoop() {
  const playing = player.playing;
  player.stop();
  player.loopOn = !player.loopOn;
  if (!player.loopOn) player.loop = null;
  if (playing) player.start();
  say(player.loopOn ? "Loop on." : "Loop off.");
  refreshPlayer();
}

/* ---- A/B/X ---- */

const trial = { x: 0, right: 0, total: 0, playing: "" };
const hidingX = () => !$("abx").hidden && trial.playing === "x";

function newTrial() {
  trial.x = crypto.getRandomValues(new Uint8Array(1))[0] & 1;
  if (trial.playing === "x") trial.playing = "";
}

function playTrial(which) {
  if (!player.buffers.length) return;
  const a = Number($("abxa").value);
  const b = Number($("abxb").value);
  playTrack(player.clip, { a, b, x: trial.x ? b : a }[which], which);
}

// Probability of at least `right` of `total` correct answers by guessing.
function guessing(right, total) {
  let term = 0.5 ** total;
  let sum = 0;
  for (let k = 0; k <= total; k++) {
    if (k >= right) sum += term;
    term *= (total - k) / (k + 1);
  }
  return Math.min(1, sum);
}

function answer(isB) {
  if (!player.buffers.length || $("abxa").value === $("abxb").value) {
    $("abxscore").textContent = "Choose two different systems.";
    return;
  }
  trial.total += 1;
  trial.right += Number(isB === Boolean(trial.x));
  const p = guessing(trial.right, trial.total);
  $("abxscore").textContent = `${trial.right} of ${trial.total} right, p = ${p.toFixed(3)}`;
  newTrial();
  playTrial("x");
}

function resetTrials() {
  Object.assign(trial, { right: 0, total: 0 });
  $("abxscore").textContent = "";
  newTrial();
}

/* ---- ratings ---- */

const quoted = (value) => `"${String(value).replaceAll('"', '""')}"`;

function ratingsCsv() {
  const lines = [["session", "listener", "dataset", "clip", "sample", "system", "rating"]];
  for (const [key, rating] of ratings) {
    const [clip, track] = key.split("/").map(Number);
    const { dataset, id } = data.clips[clip];
    const sample = letter(stimuli(clip).indexOf(track, 1) - 1);
    lines.push([session, $("listener").value, dataset, id, sample, track ? data.systems[track - 1] : "hidden original", rating]);
  }
  return `${lines.map((line) => line.map(quoted).join(",")).join("\r\n")}\r\n`;
}

function download() {
  const url = URL.createObjectURL(new Blob([ratingsCsv()], { type: "text/csv" }));
  const link = element("a", { href: url, download: `ratings-${session.replace(/[^A-Za-z0-9_-]/g, "")}.csv` });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

function setBlind(on) {
  blind = on;
  $("blindbox").hidden = !on;
  countRatings();
  $("metric").disabled = $("by").disabled = on;
  // A list of names would reveal the order.
  for (const id of ["metric", "by"]) $(id).closest("label").hidden = on;
  place = 0;
  player.current = 0;
  if (player.playing) player.select(0);
  makeTable();
  if (player.clip >= 0) makeStimuli();
  resetTrials();
  fillBy();
  refreshPlayer();
}

function fillBy() {
  const before = $("by").value;
  const options = blind ? [] : systemNames.map((system, s) => element("option", { value: s }, system));
  $("by").replaceChildren(element("option", { value: -1 }, "mean of systems"), ...options);
  $("by").value = [...$("by").options].some((option) => option.value === before) ? before : "-1";
}

/* ---- keys ---- */

const KEYS = {
  " ": toggle,
  k: toggle,
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
  n: () => stepClip(1),
  p: () => stepClip(-1),
  "[": loopStart,
  "]": loopEnd,
  l: toggleLoop,
  a: () => !$("abx").hidden && playTrial("a"),
  b: () => !$("abx").hidden && playTrial("b"),
  x: () => !$("abx").hidden && playTrial("x"),
  "?": () => $("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (!$("keys").checked || event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  const target = event.target;
  const typing = target.matches("input[type=text], select");
  const sliding = target.matches("input[type=range]") && event.key.startsWith("Arrow");
  const pressing = target.matches("button, input[type=checkbox]") && event.key === " ";
  if (target === $("seek") && sliding && player.buffers.length) {
    player.seek(player.position() + (["ArrowLeft", "ArrowDown"].includes(event.key) ? -ARROW : ARROW));
    showTime();
    event.preventDefault();
    return;
  }
  if (typing || sliding || pressing) return;
  if (/^[0-9]$/.test(event.key) && player.clip >= 0) {
    const at = Number(event.key);
    const button = stimulusButtons()[at];
    if (button && !button.disabled) playTrack(player.clip, at);
  } else if (KEYS[event.key]) KEYS[event.key]();
  else return;
  event.preventDefault();
});

/* ---- start ---- */

$("metric").append(...data.metrics.map((m) => element("option", { value: m.name }, m.unit ? `${m.title} (${m.unit})` : m.title)));
fillBy();
for (const id of ["metric", "order", "by", "show"]) $(id).addEventListener("change", makeTable);
$("controls").addEventListener("submit", (event) => event.preventDefault());
$("blind").addEventListener("change", () => setBlind($("blind").checked));
$("level").addEventListener("change", () => {
  if (!player.buffers.length) return;
  player.level();
  if (player.playing) player.restart();
  refreshPlayer();
});
$("csv").addEventListener("click", download);
$("expand").addEventListener("click", () => {
  const expanded = $("player").classList.toggle("expanded");
  $("expand").setAttribute("aria-expanded", String(expanded));
  $("expand").textContent = expanded ? "Less" : "More";
});
const foldSettings = () => ($("settings").open = !phone.matches);
phone.addEventListener("change", foldSettings);
foldSettings();
// A box that scrolls must be reachable by the keyboard; one that does not is no stop.
const fitTable = new ResizeObserver(() => {
  const wide = !phone.matches && $("clips").scrollWidth > $("scroll").clientWidth;
  $("scroll").classList.toggle("wide", wide);
  if (wide) $("scroll").tabIndex = 0;
  else $("scroll").removeAttribute("tabindex");
});
for (const id of ["clips", "scroll"]) fitTable.observe($(id));
new ResizeObserver(refreshPlayer).observe($("picture"));
$("more").addEventListener("click", makeRows);
$("play").addEventListener("click", toggle);
$("previous").addEventListener("click", () => stepClip(-1));
$("next").addEventListener("click", () => stepClip(1));
$("loopstart").addEventListener("click", loopStart);
$("loopend").addEventListener("click", loopEnd);
$("loop").addEventListener("click", toggleLoop);
$("seek").addEventListener("input", () => {
  if (player.buffers.length) player.seek(Number($("seek").value));
  showTime();
});
$("abxopen").addEventListener("click", () => {
  const open = $("abx").hidden;
  $("abx").hidden = !open;
  $("abxopen").setAttribute("aria-expanded", String(open));
  resetTrials();
  refreshPlayer();
});
for (const id of ["a", "b", "x"]) $(`play_${id}`).addEventListener("click", () => playTrial(id));
for (const id of ["abxa", "abxb"]) $(id).addEventListener("change", resetTrials);
$("is_a").addEventListener("click", () => answer(false));
$("is_b").addEventListener("click", () => answer(true));
window.addEventListener("beforeunload", (event) => ratings.size && event.preventDefault());
new IntersectionObserver((entries) => entries.some((e) => e.isIntersecting) && makeRows(), { rootMargin: "600px" }).observe($("more"));
makeTable();
showClip(new URLSearchParams(location.search).get("clip"));
requestAnimationFrame(tick);
