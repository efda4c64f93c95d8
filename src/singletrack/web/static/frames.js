/** Frames of a clip: fetched when wanted, read ahead in the direction of play, kept in a bounded cache. */

import { OfflineError, request } from "./api.js";

const CACHE_BYTES = 240_000_000; // of decoded pictures
const AHEAD = 8;
const PREVIEW_WIDTH = 900; // in pixels: while it tracks, pictures need not be wider
const AFTER_JUMP = 100; // milliseconds until frames are read ahead: the next jump must not wait for them

export class Frames {
  /**
   * @param {string} clip
   * @param {{width: number, height: number, frame_count: number}} video
   * @param {{onFrame: (number: number, picture: ImageBitmap) => void, onError: (error: Error) => void}} listener
   */
  constructor(clip, video, { onFrame, onError }) {
    this.clip = clip;
    this.video = video;
    this.onFrame = onFrame;
    this.onError = onError;
    this.fitted = 1;
    this.preview = false;
    this.wanted = 0;
    this.direction = 1;
    this.jumped = false;
    /** @type {Map<string, ImageBitmap>} */
    this.cache = new Map();
    /** @type {Map<string, Promise<ImageBitmap>>} */
    this.loading = new Map();
    this.busy = false;
    this.closed = false;
  }

  /**
   * Choose the size in which frames are fetched, for a width on the screen in device pixels.
   * @param {number} width
   */
  fitScale(width) {
    const scale = scaleTo(this.video.width / Math.max(1, width));
    if (scale === this.fitted) return;
    this.fitted = scale;
    this.want(this.wanted);
  }

  /** What the sides of a fetched frame are divided by. */
  get scale() {
    return this.preview ? Math.max(this.fitted, scaleTo(this.video.width / PREVIEW_WIDTH)) : this.fitted;
  }

  /** @param {number} number */
  has(number) {
    return this.cache.has(this.key(number));
  }

  /**
   * Show a frame as soon as it is here. A frame that is wanted later takes its place.
   * @param {number} number
   * @param {boolean} [preview] whether it is shown in passing: it may be coarse, and those after it are not fetched
   */
  want(number, preview = false) {
    if (number !== this.wanted) {
      // Those before a frame take long to decode: they are fetched only for a person who steps back.
      this.direction = number === this.wanted - 1 ? -1 : 1;
      this.jumped = Math.abs(number - this.wanted) > 1;
    }
    this.wanted = number;
    this.preview = preview;
    const picture = this.cache.get(this.key(number));
    if (picture) {
      this.touch(this.key(number), picture);
      this.onFrame(number, picture);
    }
    void this.work();
  }

  close() {
    this.closed = true;
    for (const picture of this.cache.values()) picture.close();
    this.cache.clear();
  }

  /** @param {number} number */
  key(number) {
    return `${number}/${this.scale}`;
  }

  /** One request at a time for what is wanted now, then ahead. */
  async work() {
    if (this.busy) return;
    this.busy = true;
    try {
      for (;;) {
        const number = this.nextToLoad();
        if (number === null || this.closed) break;
        if (this.jumped && number !== this.wanted) {
          this.jumped = false;
          window.setTimeout(() => void this.work(), AFTER_JUMP);
          break;
        }
        const key = this.key(number);
        const picture = await this.load(number);
        if (this.closed) {
          picture.close();
          break;
        }
        this.touch(key, picture);
        if (number === this.wanted && key === this.key(number)) this.onFrame(number, picture);
        this.trim();
      }
    } catch (error) {
      if (!this.closed) {
        this.onError(/** @type {Error} */ (error));
        if (error instanceof OfflineError) this.lost = true;
      }
    } finally {
      this.busy = false;
    }
  }

  /** @returns {number | null} */
  nextToLoad() {
    const bytes = (this.video.width * this.video.height * 4) / (this.scale * this.scale);
    const ahead = this.preview ? 0 : Math.max(1, Math.min(AHEAD, Math.floor(CACHE_BYTES / bytes / 2)));
    for (let step = 0; step <= ahead; step += 1) {
      const number = this.wanted + step * this.direction;
      if (number < 0 || number >= this.video.frame_count) break;
      if (!this.has(number)) return number;
    }
    return null;
  }

  /** @param {number} number */
  async load(number) {
    const response = await request("GET", `/api/clips/${this.clip}/frames/${number}?scale=${this.scale}`);
    return createImageBitmap(await response.blob());
  }

  /** @param {string} key @param {ImageBitmap} picture */
  touch(key, picture) {
    this.cache.delete(key);
    this.cache.set(key, picture);
  }

  trim() {
    let bytes = 0;
    for (const picture of this.cache.values()) bytes += picture.width * picture.height * 4;
    for (const [key, picture] of this.cache) {
      if (bytes <= CACHE_BYTES) break;
      if (key === this.key(this.wanted)) continue;
      bytes -= picture.width * picture.height * 4;
      this.cache.delete(key);
      picture.close();
    }
  }
}

/** The scale that the server knows for a share of pixels. @param {number} share */
function scaleTo(share) {
  return share >= 4 ? 4 : share >= 2 ? 2 : 1;
}
