/** The live page: paints the newest picture with its boxes, and sends what is drawn on it. */

/** @param {string} id */
const find = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
const canvas = /** @type {HTMLCanvasElement} */ (find("picture"));
const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));

const SMALLEST = 4; // pixels of the source: a shorter drag is a click
const SILENCE = 3000; // milliseconds without a picture after which that is said

/** @typedef {{id: number, box: number[], score: number, lost: boolean}} Target */
/** @type {{frame: number, size: number[], targets: Target[], image: ImageBitmap} | null} */
let shown = null; // what is painted
/** @type {typeof shown} */
let newest = null; // what came last; the picture may be frozen
let frozen = false;
/** @type {number | null} */
let selected = null;
/** @type {{x: number, y: number, toX: number, toY: number} | null} */
let drawing = null;
let recording = false;
let lastPicture = performance.now();
let saidSilence = false;
/** @type {WebSocket | null} */
let socket = null;

// --- the connection ---

function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/live`);
  socket.binaryType = "arraybuffer";
  socket.onmessage = (event) => receive(event.data);
  socket.onclose = () => {
    say("The server does not answer. Is `singletrack live` still running? The page tries again by itself.");
    window.setTimeout(connect, 1000);
  };
}

/** @param {object} message */
function send(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

/** @param {string | ArrayBuffer} data */
async function receive(data) {
  if (typeof data === "string") {
    update(JSON.parse(data));
    return;
  }
  const length = new DataView(data).getUint32(0);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  const image = await createImageBitmap(new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" }));
  if (newest !== shown) newest?.image.close();
  newest = { frame: header.frame, size: header.size, targets: header.targets, image };
  lastPicture = performance.now();
  if (saidSilence) {
    saidSilence = false;
    find("banner").hidden = true;
  }
  if (!frozen) show(newest);
  update(header);
  // the next picture is sent once this one is on the screen
  requestAnimationFrame(() => send({ shown: header.frame }));
}

/** @param {any} header */
function update(header) {
  find("name").textContent = header.name;
  document.title = `${header.name} – singletrack live`;
  find("delay").textContent = header.delay_ms == null ? "" : `${header.delay_ms} ms to the screen`;
  find("dropped").textContent = header.dropped ? `${header.dropped} dropped` : "";
  recording = header.recording;
  find("record").setAttribute("aria-pressed", String(recording));
  find("record").textContent = recording ? "Stop recording" : "Record";
  if (header.error) say(header.error);
  if (header.ended) say(`The source has ended: ${header.ended}.`);
  listTargets();
}

window.setInterval(() => {
  if (performance.now() - lastPicture > SILENCE && socket?.readyState === WebSocket.OPEN && find("banner").hidden) {
    saidSilence = true;
    say("No picture for some seconds. The camera or stream is opened again as soon as it answers.");
  }
}, 500);

// --- the picture ---

/** @param {NonNullable<typeof shown>} picture */
function show(picture) {
  if (shown && shown !== picture) shown.image.close();
  shown = picture;
  document.body.dataset.frame = String(picture.frame);
  paint();
}

/** Where the picture is in the canvas: its left and top in pixels of the page, and the zoom. */
function view() {
  const width = canvas.clientWidth, height = canvas.clientHeight;
  const [across, down] = shown ? shown.size : [1, 1];
  const zoom = Math.min(width / across, height / down);
  return { left: (width - across * zoom) / 2, top: (height - down * zoom) / 2, zoom };
}

/** @param {number} id */
function color(id) {
  return `hsl(${Math.round(360 * (0.08 + 0.84 * ((0.34 + 0.618034 * (id - 1)) % 1)))} 75% 55%)`;
}

function paint() {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  if (!shown) return;
  const { left, top, zoom } = view();
  canvas.dataset.view = `${left} ${top} ${zoom}`;
  context.drawImage(shown.image, left, top, shown.size[0] * zoom, shown.size[1] * zoom);
  context.font = "600 13px system-ui, sans-serif";
  for (const target of shown.targets) {
    const [x, y, boxWidth, boxHeight] = target.box.map((value) => value * zoom);
    context.strokeStyle = context.fillStyle = color(target.id);
    context.lineWidth = target.id === selected ? 4 : 2;
    context.setLineDash(target.lost ? [8, 6] : []);
    context.strokeRect(left + x, top + y, boxWidth, boxHeight);
    const label = target.lost ? `${target.id} LOST` : `${target.id}: ${target.score.toFixed(2)}`;
    const labelTop = Math.max(top, top + y - 20);
    context.fillRect(left + x, labelTop, context.measureText(label).width + 10, 20);
    context.fillStyle = "#000";
    context.fillText(label, left + x + 5, labelTop + 14);
  }
  context.setLineDash([]);
  if (drawing) {
    context.strokeStyle = "#fff";
    context.lineWidth = 2;
    const { x, y, toX, toY } = drawing;
    context.strokeRect(left + x * zoom, top + y * zoom, (toX - x) * zoom, (toY - y) * zoom);
  }
}

/** @param {PointerEvent} event */
function place(event) {
  const bounds = canvas.getBoundingClientRect();
  const { left, top, zoom } = view();
  const [across, down] = shown ? shown.size : [0, 0];
  return {
    x: Math.min(Math.max((event.clientX - bounds.left - left) / zoom, 0), across),
    y: Math.min(Math.max((event.clientY - bounds.top - top) / zoom, 0), down),
  };
}

let frameOfDrawing = 0;

canvas.addEventListener("pointerdown", (event) => {
  if (!shown || event.button !== 0) return;
  canvas.setPointerCapture(event.pointerId);
  const { x, y } = place(event);
  drawing = { x, y, toX: x, toY: y };
  // a moving picture stands still from here on: the box belongs to what is seen
  frameOfDrawing = shown.frame;
  if (!frozen) hold(true);
});

canvas.addEventListener("pointermove", (event) => {
  if (!drawing) return;
  const { x, y } = place(event);
  drawing = { ...drawing, toX: x, toY: y };
  paint();
});

canvas.addEventListener("pointerup", (event) => {
  if (!drawing) return;
  const { x, y } = drawing;
  const end = place(event);
  drawing = null;
  const box = [Math.min(x, end.x), Math.min(y, end.y), Math.abs(end.x - x), Math.abs(end.y - y)];
  if (Math.min(box[2], box[3]) < SMALLEST) {
    select(targetAt(end.x, end.y));
  } else {
    send({ do: "draw", frame: frameOfDrawing, box, ...(selected === null ? {} : { id: selected }) });
  }
  hold(pressed());
});

canvas.addEventListener("pointercancel", () => {
  drawing = null;
  hold(pressed());
});

/** @param {number} x @param {number} y */
function targetAt(x, y) {
  const inside = (shown?.targets ?? []).filter(
    ({ box }) => x >= box[0] && y >= box[1] && x <= box[0] + box[2] && y <= box[1] + box[3],
  );
  return inside.length ? inside[inside.length - 1].id : null;
}

/** @param {boolean} still whether the picture stands still */
function hold(still) {
  if (still === frozen) return;
  frozen = still;
  send({ do: "freeze", ...(still && shown ? { frame: shown.frame } : {}) });
  if (!still && newest) show(newest);
}

const pressed = () => find("freeze").getAttribute("aria-pressed") === "true";

// --- the targets ---

/** @type {Map<number, {item: HTMLElement, state: HTMLElement}>} */
const rows = new Map(); // by target; they stay, so that a click on a button always meets it

function listTargets() {
  const targets = newest?.targets ?? [];
  if (selected !== null && !targets.some(({ id }) => id === selected)) selected = null;
  for (const [id, { item }] of rows) {
    if (targets.some((target) => target.id === id)) continue;
    item.remove();
    rows.delete(id);
  }
  for (const { id, score, lost } of targets) {
    const row = rows.get(id) ?? addRow(id);
    row.item.ariaSelected = String(id === selected);
    row.state.textContent = lost ? "lost" : score.toFixed(2);
  }
  find("no-targets").hidden = targets.length > 0;
  find("hint").textContent = selected === null ? "" : `Draw the box of target ${selected} anew, or press Escape`;
}

/** @param {number} id */
function addRow(id) {
  const item = document.createElement("li");
  item.role = "option";
  const swatch = document.createElement("span");
  swatch.className = "swatch";
  swatch.style.background = color(id);
  const name = document.createElement("span");
  name.className = "name";
  name.textContent = `Target ${id} `;
  const state = document.createElement("span");
  state.className = "state";
  name.append(state);
  const remove = document.createElement("button");
  remove.className = "plain danger";
  remove.textContent = "Remove";
  remove.ariaLabel = `Remove target ${id}`;
  remove.addEventListener("click", (event) => {
    event.stopPropagation();
    send({ do: "remove", id });
  });
  item.append(swatch, name, remove);
  item.addEventListener("click", () => select(id === selected ? null : id));
  find("targets").append(item);
  const row = { item, state };
  rows.set(id, row);
  return row;
}

/** @param {number | null} id */
function select(id) {
  selected = id;
  listTargets();
  paint();
}

// --- buttons and keys ---

function toggleFreeze() {
  find("freeze").setAttribute("aria-pressed", String(!pressed()));
  find("freeze").textContent = pressed() ? "Go on" : "Freeze";
  hold(pressed());
}

find("freeze").addEventListener("click", toggleFreeze);
find("record").addEventListener("click", () => send({ do: "record", on: !recording }));
find("banner-close").addEventListener("click", () => (find("banner").hidden = true));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const onButton = event.target instanceof HTMLButtonElement;
  if (event.key === " " && !onButton) toggleFreeze();
  else if (event.key === "r") send({ do: "record", on: !recording });
  else if (event.key === "Delete" && selected !== null) send({ do: "remove", id: selected });
  else if (event.key === "Escape") {
    drawing = null;
    select(null);
    hold(pressed());
  } else return;
  event.preventDefault();
});

/** @param {string} text */
function say(text) {
  find("banner-text").textContent = text;
  find("banner").hidden = false;
  find("announce").textContent = text;
}

new ResizeObserver(paint).observe(canvas);
connect();
