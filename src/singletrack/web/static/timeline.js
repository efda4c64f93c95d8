/** The timeline: a row for each target with its scores, keyframes, lost and absent stretches; cuts as lines. */

/**
 * @typedef {import("./app.js").Row} Row
 * @typedef {{id: number, name: string, color: string, stale: [number, number][], boxes: Map<number, Row>}} Track
 */

const RULER = 22;
const ROW = 30;

/**
 * A text, cut with an ellipsis if it is wider than the place.
 * @param {CanvasRenderingContext2D} context whose font is set
 * @param {string} text @param {number} width
 */
export function cutText(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  const letters = [...text.slice(0, 100)];
  while (letters.length && context.measureText(`${letters.join("")}…`).width > width) letters.pop();
  return `${letters.join("").trimEnd()}…`;
}

export class Timeline {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{count: () => number, fps: () => number, frame: () => number, tracks: () => Track[],
   *   selected: () => number | null, cuts: () => number[], doubts: () => {target: number, frame: number}[],
   *   onSeek: (frame: number) => void, onSelect: (id: number) => void}} model
   */
  constructor(canvas, model) {
    this.canvas = canvas;
    this.model = model;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    this.first = 0; // shown stretch, in frames
    this.span = 0;
    this.queued = false;
    this.seeking = false;
    new ResizeObserver(() => this.paint()).observe(/** @type {Element} */ (canvas.parentElement));
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.seeking && this.seek(event));
    for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, () => (this.seeking = false));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("dblclick", () => this.reset());
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
  }

  reset() {
    this.first = 0;
    this.span = this.model.count();
    this.paint();
  }

  get gutter() {
    return this.canvas.clientWidth < 600 ? 96 : 132;
  }

  /** @param {number} frame */
  xOf(frame) {
    return this.gutter + ((frame + 0.5 - this.first) / this.span) * (this.canvas.clientWidth - this.gutter - 12);
  }

  /** @param {number} x */
  frameAt(x) {
    const frame = this.first + ((x - this.gutter) / (this.canvas.clientWidth - this.gutter - 12)) * this.span;
    return Math.min(this.model.count() - 1, Math.max(0, Math.floor(frame)));
  }

  /** @param {PointerEvent} event */
  down(event) {
    if (event.button !== 0) return;
    const bounds = this.canvas.getBoundingClientRect();
    const row = Math.floor((event.clientY - bounds.top - RULER) / ROW);
    const track = this.model.tracks()[row];
    if (track) this.model.onSelect(track.id);
    if (event.clientX - bounds.left < this.gutter - 6) return;
    this.seeking = true;
    this.canvas.setPointerCapture(event.pointerId);
    this.seek(event);
  }

  /** @param {PointerEvent} event */
  seek(event) {
    this.model.onSeek(this.frameAt(event.clientX - this.canvas.getBoundingClientRect().left));
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    if (!event.ctrlKey && !event.shiftKey && Math.abs(event.deltaX) <= Math.abs(event.deltaY) && this.canvas.clientHeight > /** @type {HTMLElement} */ (this.canvas.parentElement).clientHeight) return;
    event.preventDefault();
    const count = this.model.count();
    const x = event.clientX - this.canvas.getBoundingClientRect().left;
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      this.first += ((event.deltaX || event.deltaY) / 800) * this.span;
    } else {
      const at = this.first + ((x - this.gutter) / (this.canvas.clientWidth - this.gutter - 12)) * this.span;
      const span = Math.min(count, Math.max(Math.min(20, count), this.span * Math.exp(event.deltaY / 400)));
      this.first = at - ((at - this.first) * span) / this.span;
      this.span = span;
    }
    this.first = Math.max(0, Math.min(count - this.span, this.first));
    this.paint();
  }

  /** Move the shown stretch so that the current frame is in it. */
  follow() {
    const frame = this.model.frame();
    if (frame < this.first || frame >= this.first + this.span) {
      this.first = Math.max(0, Math.min(this.model.count() - this.span, frame - this.span / 4));
    }
    this.paint();
  }

  paint() {
    if (this.queued) return;
    this.queued = true;
    requestAnimationFrame(() => {
      this.queued = false;
      this.paintNow();
    });
  }

  paintNow() {
    const tracks = this.model.tracks();
    const { canvas, context } = this;
    const ratio = window.devicePixelRatio || 1;
    const height = RULER + Math.max(1, tracks.length) * ROW + 6;
    const width = canvas.clientWidth;
    if (canvas.height !== Math.round(height * ratio) || canvas.width !== Math.round(width * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.height = `${height}px`;
    }
    if (!this.span) this.span = this.model.count();
    const style = getComputedStyle(document.documentElement);
    this.colors = Object.fromEntries(["text", "quiet", "line", "accent", "back", "accent-soft"].map((name) => [name, style.getPropertyValue(`--${name}`)]));
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    if (!this.model.count()) return;
    this.paintRuler(width, height);
    tracks.forEach((track, row) => this.paintTrack(track, RULER + row * ROW, width));
    context.fillStyle = this.colors.quiet;
    for (const cut of this.model.cuts()) this.paintCut(cut, height);
    this.paintHead(height);
    tracks.forEach((track, row) => this.paintKeyframes(track, RULER + row * ROW + ROW / 2 + 1));
  }

  /** @param {number} width @param {number} height */
  paintRuler(width, height) {
    const { context } = this;
    const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000];
    const step = steps.find((each) => (each / this.span) * (width - this.gutter) >= 64) ?? 100000;
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.textAlign = "center";
    for (let frame = Math.ceil(this.first / step) * step; frame < this.first + this.span; frame += step) {
      const x = this.xOf(frame);
      context.fillStyle = this.colors.line;
      context.fillRect(Math.round(x), RULER - 5, 1, height - RULER + 5);
      context.fillStyle = this.colors.quiet;
      if (x < width - 14) context.fillText(String(frame), x, 9);
    }
    context.textAlign = "left";
  }

  /** @param {Track} track @param {number} top @param {number} width */
  paintTrack(track, top, width) {
    const { context } = this;
    const bottom = top + ROW - 5;
    const tall = ROW - 11;
    const selected = this.model.selected() === track.id;
    if (selected) {
      context.fillStyle = this.colors["accent-soft"];
      context.fillRect(0, top, width, ROW);
    }
    context.fillStyle = track.color;
    context.fillRect(12, top + 10, 10, 10);
    context.save();
    context.beginPath();
    context.rect(0, top, this.gutter - 8, ROW);
    context.clip();
    context.fillStyle = this.colors.text;
    context.font = `${selected ? 600 : 400} ${this.gutter < 100 ? 12 : 13}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    context.fillText(cutText(context, track.name, this.gutter - 8 - 28), 28, top + ROW / 2);
    context.restore();

    context.save();
    context.beginPath();
    context.rect(this.gutter, top, width - this.gutter - 12, ROW);
    context.clip();
    context.fillStyle = this.colors.line;
    context.fillRect(this.gutter, bottom, width - this.gutter - 12, 1);
    this.paintScores(track, bottom, tall);
    this.paintDoubts(track, top);
    context.restore();
  }

  /**
   * Each column of pixels shows the lowest score of its frames, hatched where one of them is lost.
   * @param {Track} track @param {number} bottom @param {number} tall
   */
  paintScores(track, bottom, tall) {
    const { context } = this;
    const columns = Math.max(1, Math.floor(this.canvas.clientWidth - this.gutter - 12));
    const wide = Math.max(1, Math.ceil(columns / this.span));
    /** @type {CanvasPattern | null} */
    const hatch = this.hatch(track.color);
    const limit = this.first + this.span;
    const perColumn = this.span / columns;
    for (let column = 0; column < columns; column += wide) {
      const from = Math.floor(this.first + column * perColumn);
      const to = Math.min(limit, Math.max(from + 1, Math.floor(this.first + (column + wide) * perColumn)));
      let score = 2;
      let lost = false;
      let interpolated = false;
      let outdated = false;
      for (let frame = from; frame < to; frame += 1) {
        const row = track.boxes.get(frame);
        if (!row || row.box === null) continue;
        score = Math.min(score, row.score);
        lost ||= row.lost;
        interpolated ||= row.source === "interpolation";
        outdated ||= row.outdated;
      }
      if (score > 1) continue;
      const x = this.gutter + column;
      if (lost) {
        context.globalAlpha = outdated ? 0.4 : 1;
        context.fillStyle = hatch ?? track.color;
        context.fillRect(x, bottom - tall, wide, tall);
        context.globalAlpha = 1;
        continue;
      }
      const high = interpolated ? 3 : Math.max(2, score * tall);
      context.globalAlpha = outdated ? 0.15 : interpolated ? 0.5 : 0.32;
      context.fillStyle = track.color;
      context.fillRect(x, bottom - high, wide, high);
      context.globalAlpha = 1;
      if (!interpolated && !outdated) context.fillRect(x, bottom - high, wide, 1.5);
    }
  }

  /** @param {string} color */
  hatch(color) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 6;
    const context = /** @type {CanvasRenderingContext2D} */ (tile.getContext("2d"));
    context.strokeStyle = color;
    context.lineWidth = 1.4;
    context.beginPath();
    context.moveTo(-1, 7);
    context.lineTo(7, -1);
    context.moveTo(-1, 1);
    context.lineTo(1, -1);
    context.moveTo(5, 7);
    context.lineTo(7, 5);
    context.stroke();
    return this.context.createPattern(tile, "repeat");
  }

  /** @param {Track} track @param {number} middle */
  paintKeyframes(track, middle) {
    const { context } = this;
    for (const [frame, row] of track.boxes) {
      if (!row.keyframe) continue;
      const x = this.xOf(frame);
      if (x < this.gutter - 6 || x > this.canvas.clientWidth - 8) continue;
      context.beginPath();
      context.moveTo(x, middle - 6);
      context.lineTo(x + 5.5, middle);
      context.lineTo(x, middle + 6);
      context.lineTo(x - 5.5, middle);
      context.closePath();
      context.fillStyle = row.box === null ? this.colors.back : track.color;
      context.fill();
      context.lineWidth = 1.5;
      context.strokeStyle = this.colors.text;
      context.stroke();
    }
  }

  /** @param {Track} track @param {number} top */
  paintDoubts(track, top) {
    const { context } = this;
    context.fillStyle = this.colors.accent;
    for (const doubt of this.model.doubts()) {
      if (doubt.target !== track.id) continue;
      context.beginPath();
      context.arc(this.xOf(doubt.frame), top + 4, 2.5, 0, 2 * Math.PI);
      context.fill();
    }
  }

  /** @param {number} cut @param {number} height */
  paintCut(cut, height) {
    const { context } = this;
    const x = Math.round(this.xOf(cut - 0.5));
    if (x < this.gutter || x > this.canvas.clientWidth - 12) return;
    for (let y = RULER - 4; y < height; y += 6) context.fillRect(x, y, 1.5, 3.5);
  }

  /** @param {number} height */
  paintHead(height) {
    const { context } = this;
    const x = this.xOf(this.model.frame());
    if (x < this.gutter - 1) return;
    context.fillStyle = this.colors.accent;
    context.fillRect(x - 0.75, 2, 1.5, height);
    context.beginPath();
    context.moveTo(x - 6, 0);
    context.lineTo(x + 6, 0);
    context.lineTo(x + 6, 8);
    context.lineTo(x, 15);
    context.lineTo(x - 6, 8);
    context.fill();
  }
}
