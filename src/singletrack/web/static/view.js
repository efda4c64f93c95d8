/** The picture with its boxes: zoom, pan, drawing, moving and resizing. Knows pixels, not projects. */

/**
 * @typedef {{x: number, y: number, w: number, h: number}} Box in pixels of the source
 * @typedef {{id: number, name: string, color: string, box: Box | null, lost: boolean, keyframe: boolean,
 *   interpolated: boolean, outdated: boolean, score: number, selected: boolean}} Shape
 * @typedef {{kind: "pan" | "draw" | "move" | "resize" | "press", id: number, startX: number, startY: number, box: Box,
 *   handle: string, moved: boolean, current?: {x: number, y: number}}} Drag
 */

const HANDLE = 9;
const TOUCH = 22;
const EDGE = 5; // beside a handle, a side is taken from this near
const TOUCH_EDGE = 12;
const SMALLEST = 3; // pixels of the source
const LONGEST_NAME = 32; // letters in the tag of a box, so that there is room for its state
const CURSORS = { n: "ns", s: "ns", e: "ew", w: "ew", nw: "nwse", se: "nwse", ne: "nesw", sw: "nesw" };

export class PictureView {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{shapes: () => Shape[], drawsAlways: () => boolean, drawsNow: () => boolean, onBegin: () => void, onDraw: (box: Box) => void,
   *   onEdit: (id: number, box: Box) => void, onSelect: (id: number) => void, onView: () => void}} model
   */
  constructor(canvas, model) {
    this.canvas = canvas;
    this.model = model;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    this.size = { w: 1, h: 1 };
    /** @type {ImageBitmap | null} */
    this.picture = null;
    this.zoom = 1; // CSS pixels for each pixel of the source
    this.left = 0;
    this.top = 0;
    this.fitted = true;
    this.spaceHeld = false;
    this.spaceUsed = false;
    /** @type {Drag | null} */
    this.drag = null;
    /** @type {Map<number, {x: number, y: number}>} */
    this.pointers = new Map();
    this.queued = false;
    new ResizeObserver(() => this.resize()).observe(canvas);
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", (event) => this.cancel(event));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", () => !this.model.drawsNow() && !this.drag && this.fit());
    canvas.addEventListener("auxclick", (event) => event.preventDefault());
  }

  /** @param {number} w @param {number} h */
  setSource(w, h) {
    this.size = { w, h };
    this.picture = null;
    this.drag = null;
    this.fit();
  }

  /** @param {ImageBitmap} picture */
  show(picture) {
    this.picture = picture;
    this.paint();
  }

  /** Width of the whole picture on the screen, in device pixels. */
  get shownWidth() {
    return this.size.w * this.zoom * window.devicePixelRatio;
  }

  get busy() {
    return this.drag !== null && this.drag.kind !== "pan";
  }

  fit() {
    const { clientWidth, clientHeight } = this.canvas;
    const margin = Math.min(16, clientWidth / 40);
    this.zoom = Math.max(0.01, Math.min((clientWidth - 2 * margin) / this.size.w, (clientHeight - 2 * margin) / this.size.h));
    this.left = (clientWidth - this.size.w * this.zoom) / 2;
    this.top = (clientHeight - this.size.h * this.zoom) / 2;
    this.fitted = true;
    this.viewed();
  }

  /**
   * @param {number} factor
   * @param {number} [x] place that stays where it is, in CSS pixels
   * @param {number} [y]
   */
  zoomBy(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const zoom = Math.min(40, Math.max(0.02, this.zoom * factor));
    this.left = x - ((x - this.left) * zoom) / this.zoom;
    this.top = y - ((y - this.top) * zoom) / this.zoom;
    this.zoom = zoom;
    this.fitted = false;
    this.keepInSight();
    this.viewed();
  }

  cancelDrag() {
    const had = this.drag !== null;
    this.drag = null;
    this.paint();
    return had;
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    if (this.fitted) this.fit();
    else {
      this.keepInSight();
      this.viewed();
    }
    this.paintNow();
  }

  viewed() {
    this.model.onView();
    this.paint();
  }

  keepInSight() {
    const { clientWidth, clientHeight } = this.canvas;
    const margin = 60;
    this.left = Math.min(clientWidth - margin, Math.max(margin - this.size.w * this.zoom, this.left));
    this.top = Math.min(clientHeight - margin, Math.max(margin - this.size.h * this.zoom, this.top));
  }

  // --- pointers ---

  /** @param {{clientX: number, clientY: number}} event */
  place(event) {
    const bounds = this.canvas.getBoundingClientRect();
    return { x: event.clientX - bounds.left, y: event.clientY - bounds.top };
  }

  /** @param {{x: number, y: number}} place */
  toSource({ x, y }) {
    return { x: (x - this.left) / this.zoom, y: (y - this.top) / this.zoom };
  }

  /** @param {PointerEvent} event */
  down(event) {
    const place = this.place(event);
    this.pointers.set(event.pointerId, place);
    try {
      this.canvas.setPointerCapture(event.pointerId);
    } catch {
      // the pointer is gone already
    }
    if (this.pointers.size === 2) {
      this.drag = null; // two fingers zoom and pan
      this.paint();
      return;
    }
    if (!this.picture) return;
    const source = this.toSource(place);
    const begin = (/** @type {Drag["kind"]} */ kind, /** @type {number} */ id, /** @type {Box} */ box, handle = "") => {
      if (kind !== "pan") this.model.onBegin();
      this.drag = { kind, id, startX: source.x, startY: source.y, box, handle, moved: false };
    };
    const nothing = { x: 0, y: 0, w: 0, h: 0 };
    if (event.button === 1 || this.spaceHeld) {
      event.preventDefault();
      this.spaceUsed = true;
      begin("pan", 0, nothing);
    } else if (event.button === 0) {
      const hit = this.hit(place, event.pointerType === "touch");
      if (this.model.drawsAlways() || (this.model.drawsNow() && !hit?.handle)) begin("draw", 0, nothing);
      else if (hit?.handle) begin("resize", hit.shape.id, /** @type {Box} */ (hit.shape.box), hit.handle);
      else if (hit && event.shiftKey) begin("draw", 0, nothing);
      else if (hit) {
        if (!hit.shape.selected) this.model.onSelect(hit.shape.id);
        begin("move", hit.shape.id, /** @type {Box} */ (hit.shape.box));
      } else begin(event.shiftKey ? "draw" : "pan", 0, nothing);
    }
    this.setCursor(place, event.pointerType === "touch");
    this.paint();
  }

  /** @param {PointerEvent} event */
  move(event) {
    const place = this.place(event);
    const before = this.pointers.get(event.pointerId);
    if (before && this.pointers.size === 2) {
      this.pinch(event.pointerId, place);
      return;
    }
    if (before) this.pointers.set(event.pointerId, place);
    const drag = this.drag;
    if (!drag || !before) {
      this.setCursor(place, event.pointerType === "touch");
      return;
    }
    const source = this.toSource(place);
    if (!drag.moved && Math.hypot(source.x - drag.startX, source.y - drag.startY) * this.zoom < 3) return;
    drag.moved = true;
    if (drag.kind === "pan") {
      this.left += place.x - before.x;
      this.top += place.y - before.y;
      this.fitted = false;
      this.keepInSight();
      this.viewed();
    }
    drag.current = source;
    this.paint();
  }

  /** @param {PointerEvent} event */
  up(event) {
    this.pointers.delete(event.pointerId);
    const drag = this.drag;
    this.drag = null;
    this.paint();
    if (!drag?.moved || drag.kind === "pan" || !drag.current) return;
    const box = this.dragged(drag);
    if (box.w < SMALLEST || box.h < SMALLEST) return;
    if (drag.kind === "draw") this.model.onDraw(box);
    else this.model.onEdit(drag.id, box);
  }

  /** @param {PointerEvent} event */
  cancel(event) {
    this.pointers.delete(event.pointerId);
    this.drag = null;
    this.paint();
  }

  /** @param {number} id @param {{x: number, y: number}} place */
  pinch(id, place) {
    const [other] = [...this.pointers].filter(([each]) => each !== id).map(([, where]) => where);
    const before = /** @type {{x: number, y: number}} */ (this.pointers.get(id));
    this.pointers.set(id, place);
    const distance = (/** @type {{x: number, y: number}} */ at) => Math.max(20, Math.hypot(at.x - other.x, at.y - other.y));
    this.left += (place.x - before.x) / 2;
    this.top += (place.y - before.y) / 2;
    this.zoomBy(distance(place) / distance(before), (place.x + other.x) / 2, (place.y + other.y) / 2);
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    event.preventDefault();
    const { x, y } = this.place(event);
    const lines = event.deltaMode === 1 ? 16 : 1;
    this.zoomBy(Math.exp((-event.deltaY * lines) / (event.ctrlKey ? 120 : 480)), x, y);
  }

  /**
   * @param {{x: number, y: number}} place
   * @param {boolean} touch
   * @returns {{shape: Shape, handle: string} | null}
   */
  hit(place, touch) {
    const reach = touch ? TOUCH : HANDLE;
    const shapes = this.model.shapes().filter((shape) => shape.box);
    const selected = shapes.find((shape) => shape.selected);
    if (selected) {
      const handle = this.handleAt(place, this.toScreen(/** @type {Box} */ (selected.box)), reach, touch ? TOUCH_EDGE : EDGE);
      if (handle) return { shape: selected, handle };
    }
    const slack = touch ? 8 : 3;
    const inside = shapes.filter((shape) => {
      const { x, y, w, h } = this.toScreen(/** @type {Box} */ (shape.box));
      return place.x >= x - slack && place.x <= x + w + slack && place.y >= y - slack && place.y <= y + h + slack;
    });
    inside.sort((a, b) => Number(b.selected) - Number(a.selected) || area(a.box) - area(b.box));
    return inside.length ? { shape: inside[0], handle: "" } : null;
  }

  /**
   * The handle or side of a box that is taken at a place. The middle of a box, however small, moves it.
   * @param {{x: number, y: number}} place @param {Box} box on the screen
   * @param {number} reach of handles @param {number} edge reach of sides
   * @returns {string} empty if none
   */
  handleAt(place, box, reach, edge) {
    const insideX = Math.min(place.x - box.x, box.x + box.w - place.x); // negative outside
    const insideY = Math.min(place.y - box.y, box.y + box.h - place.y);
    if (insideX > Math.min(reach, box.w / 4) && insideY > Math.min(reach, box.h / 4)) return "";
    for (const [handle, x, y] of handlesOf(box)) {
      if (Math.abs(place.x - x) <= reach && Math.abs(place.y - y) <= reach && this.roomFor(handle, box)) return handle;
    }
    if (insideX < -edge || insideY < -edge) return "";
    if (insideY <= Math.min(edge, box.h / 4)) return place.y < box.y + box.h / 2 ? "n" : "s";
    if (insideX <= Math.min(edge, box.w / 4)) return place.x < box.x + box.w / 2 ? "w" : "e";
    return "";
  }

  /** Handles on the sides give way to those in the corners where a box is small. @param {string} handle @param {Box} box */
  roomFor(handle, box) {
    if (handle.length === 2) return true;
    return (handle === "n" || handle === "s" ? box.w : box.h) > 40;
  }

  /** @param {{x: number, y: number}} place @param {boolean} touch */
  setCursor(place, touch) {
    let cursor = "default";
    if (this.drag?.kind === "pan") cursor = "grabbing";
    else if (this.drag?.kind === "draw") cursor = "crosshair";
    else if (this.spaceHeld) cursor = "grab";
    else if (this.model.drawsAlways()) cursor = "crosshair";
    else {
      const hit = this.hit(place, touch);
      if (hit?.handle) cursor = `${CURSORS[/** @type {keyof CURSORS} */ (hit.handle)]}-resize`;
      else if (this.model.drawsNow()) cursor = "crosshair";
      else if (hit) cursor = hit.shape.selected ? "move" : "pointer";
      else cursor = "grab";
    }
    this.canvas.style.cursor = cursor;
  }

  /** @param {Drag} drag @returns {Box} */
  dragged(drag) {
    const { x, y } = /** @type {{x: number, y: number}} */ (drag.current);
    const dx = x - drag.startX;
    const dy = y - drag.startY;
    if (drag.kind === "move") return { ...drag.box, x: drag.box.x + dx, y: drag.box.y + dy };
    let left = drag.startX, top = drag.startY, right = x, bottom = y;
    if (drag.kind === "resize") {
      left = drag.box.x + (drag.handle.includes("w") ? dx : 0);
      right = drag.box.x + drag.box.w + (drag.handle.includes("e") ? dx : 0);
      top = drag.box.y + (drag.handle.includes("n") ? dy : 0);
      bottom = drag.box.y + drag.box.h + (drag.handle.includes("s") ? dy : 0);
    } else {
      [left, right] = [left, right].map((each) => Math.min(this.size.w, Math.max(0, each)));
      [top, bottom] = [top, bottom].map((each) => Math.min(this.size.h, Math.max(0, each)));
    }
    return { x: Math.min(left, right), y: Math.min(top, bottom), w: Math.abs(right - left), h: Math.abs(bottom - top) };
  }

  // --- painting ---

  paint() {
    if (this.queued) return;
    this.queued = true;
    requestAnimationFrame(() => {
      this.queued = false;
      this.paintNow();
    });
  }

  /** @param {Box} box */
  toScreen({ x, y, w, h }) {
    return { x: this.left + x * this.zoom, y: this.top + y * this.zoom, w: w * this.zoom, h: h * this.zoom };
  }

  paintNow() {
    const { context } = this;
    const ratio = window.devicePixelRatio || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.picture) return;
    this.canvas.dataset.view = `${this.left} ${this.top} ${this.zoom}`; // for tests and for whoever looks
    context.imageSmoothingEnabled = this.zoom * ratio < 6;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.picture, this.left, this.top, this.size.w * this.zoom, this.size.h * this.zoom);
    const shapes = [...this.model.shapes()].sort((a, b) => Number(a.selected) - Number(b.selected));
    for (const shape of shapes) {
      const drag = this.drag;
      const changing = drag?.moved && drag.current && drag.id === shape.id && (drag.kind === "move" || drag.kind === "resize");
      const box = changing ? this.dragged(drag) : shape.box;
      if (box) this.paintShape(shape, this.toScreen(box), Boolean(changing));
    }
    if (this.drag?.kind === "draw" && this.drag.moved && this.drag.current) {
      const box = this.dragged(this.drag);
      this.paintBox(this.toScreen(box), "#ffffff", [], 2);
      this.paintTag(`${box.w.toFixed(0)} × ${box.h.toFixed(0)}`, this.toScreen(box), "#ffffff", true);
    }
  }

  /** @param {Box} box @param {string} color @param {number[]} dash @param {number} width */
  paintBox(box, color, dash, width) {
    const { context } = this;
    context.setLineDash([]);
    context.lineWidth = width + 2;
    context.strokeStyle = "rgb(0 0 0 / 45%)";
    context.strokeRect(box.x, box.y, box.w, box.h);
    context.setLineDash(dash);
    context.lineWidth = width;
    context.strokeStyle = color;
    context.strokeRect(box.x, box.y, box.w, box.h);
    context.setLineDash([]);
  }

  /** @param {Shape} shape @param {Box} box @param {boolean} changing */
  paintShape(shape, box, changing) {
    const { context } = this;
    context.globalAlpha = changing ? 1 : shape.outdated ? 0.6 : shape.lost ? 0.75 : 1;
    this.paintBox(box, shape.color, changing ? [] : dashOf(shape), shape.selected ? 2.5 : 2);
    const note = changing ? "" : noteOf(shape);
    const mark = shape.keyframe && !changing ? "◆ " : "";
    this.paintTag(`${mark}${shorten(shape.name)}${note}`, box, shape.color, shape.selected);
    context.globalAlpha = 1;
    if (!shape.selected || changing || this.model.drawsAlways()) return;
    for (const [handle, x, y] of handlesOf(box)) {
      if (!this.roomFor(handle, box)) continue;
      context.beginPath();
      context.arc(x, y, 4.5, 0, 2 * Math.PI);
      context.fillStyle = "#ffffff";
      context.fill();
      context.lineWidth = 1.5;
      context.strokeStyle = "rgb(0 0 0 / 70%)";
      context.stroke();
    }
  }

  /** @param {string} text @param {Box} box @param {string} color @param {boolean} strong */
  paintTag(text, box, color, strong) {
    const { context } = this;
    context.font = `${strong ? 600 : 400} 12px system-ui, sans-serif`;
    const width = context.measureText(text).width + 12;
    const x = Math.max(2, Math.min(box.x - 1, this.canvas.clientWidth - width - 2));
    const above = box.y - 25;
    const y = above >= 2 ? above : Math.min(box.y + 4, this.canvas.clientHeight - 22);
    context.fillStyle = color;
    context.beginPath();
    context.roundRect(x, Math.max(2, y), width, 19, 4);
    context.fill();
    context.fillStyle = isLight(color) ? "#111111" : "#ffffff";
    context.textBaseline = "middle";
    context.fillText(text, x + 6, Math.max(2, y) + 10);
  }
}

/** @param {string} name */
function shorten(name) {
  return name.length > LONGEST_NAME ? `${name.slice(0, LONGEST_NAME - 1)}…` : name;
}

/** @param {Shape} shape @returns {number[]} */
function dashOf({ lost, outdated, interpolated }) {
  if (lost || outdated) return [3, 5];
  return interpolated ? [9, 5] : [];
}

/** What the tag says beside the name. @param {Shape} shape */
function noteOf({ outdated, lost, keyframe, interpolated, score }) {
  if (keyframe) return "";
  if (outdated) return " · outdated";
  if (lost) return " · lost";
  return interpolated ? " · not tracked" : ` · ${score.toFixed(2)}`;
}

/** @param {Box} box @returns {[string, number, number][]} corners first */
function handlesOf({ x, y, w, h }) {
  return [
    ["nw", x, y], ["ne", x + w, y], ["sw", x, y + h], ["se", x + w, y + h],
    ["n", x + w / 2, y], ["s", x + w / 2, y + h], ["w", x, y + h / 2], ["e", x + w, y + h / 2],
  ];
}

/** @param {Box | null} box */
function area(box) {
  return box ? box.w * box.h : 0;
}

/** @param {string} color as #rrggbb */
export function isLight(color) {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  return 0.299 * r + 0.587 * g + 0.114 * b > 130;
}
