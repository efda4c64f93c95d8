/** The page: what is shown, what was said, and what happens when. */

import { ApiError, OfflineError, call, listen } from "./api.js";
import { find, make, openExport, openHelp, openImport } from "./dialogs.js";
import { Frames } from "./frames.js";
import { actionOf } from "./keys.js";
import { Panel } from "./panel.js";
import { Timeline } from "./timeline.js";
import { PictureView } from "./view.js";

/**
 * @typedef {{x: number, y: number, w: number, h: number}} Box
 * @typedef {{box: Box | null, score: number, keyframe: boolean, lost: boolean, outdated: boolean, source: string}} Row
 * @typedef {{id: number, name: string, label: string, color: string, attributes: Record<string, string>,
 *   stale: [number, number][], left: number, boxes: Map<number, Row>}} Target
 */

const NUDGE_MS = 350; // after the last arrow key, the box is kept
const FOUND_FRAMES = 10; // in which the tracker sees a target, before the page says that it is back
const PROGRESS_MS = 200; // while tracking, the timeline is painted this often
const CALM_MS = 300; // a picture that takes longer is announced
const OFFLINE = "The server does not answer. Is `singletrack label` still running? The page tries again by itself.";
const NEW_SERVER = "`singletrack label` was started again. Open the address that it printed.";

const state = {
  /** @type {{id: string, name: string}[]} */
  clips: [],
  /** @type {any} the clip as the server describes it */
  clip: null,
  /** @type {Target[]} */
  targets: [],
  /** @type {number | null} */
  selected: null,
  frame: 0,
  shown: -1, // the frame that is painted; boxes, panel and edits are of this one
  unreadable: -1, // the wanted frame, if its picture cannot be had
  playing: false,
  drawing: false, // the next drag draws a new target
  /** @type {{done: number, total: number, seconds: number} | null} seconds since tracking began, as the server measures them */
  tracking: null,
  follows: false, // the picture goes along with tracking
  returnTo: 0,
  /** @type {{target: number, frame: number, doubt: number, reason: string}[]} */
  doubts: [],
  revision: 0,
  online: true,
};

/** @type {Frames | null} */
let frames = null;
/** @type {() => void} */
let stopListening = () => {};
/** @type {Promise<unknown>} edits go to the server one after another */
let edits = Promise.resolve();
/** @type {Set<{method: string, path: string, body: object}>} those that were not sent yet */
const waiting = new Set();
/** @type {{frame: number, id: number, box: Box, timer: number} | null} a box that arrow keys move */
let nudge = null;
let doubtTimer = 0;
let progressTimer = 0;
let calmTimer = 0;
let slow = false; // the wanted picture takes longer than that

const view = new PictureView(/** @type {HTMLCanvasElement} */ (find("picture")), {
  shapes,
  drawsAlways: () => state.drawing,
  drawsNow,
  onBegin: settle,
  onDraw: (box) => void drawn(box),
  onEdit: (id, box) => void setKeyframe(id, state.shown, box),
  onSelect: select,
  onView: () => frames?.fitScale(view.shownWidth),
});
const timeline = new Timeline(/** @type {HTMLCanvasElement} */ (find("timeline")), {
  count: () => state.clip?.video.frame_count ?? 0,
  fps: () => state.clip?.video.fps ?? 30,
  frame: () => state.frame,
  tracks: () => state.targets,
  selected: () => state.selected,
  cuts: () => state.clip?.cuts ?? [],
  doubts: () => state.doubts,
  onSeek: (frame) => seek(frame),
  onSelect: select,
});
const panel = new Panel({
  onSelect: select,
  onChange: (values) => {
    if (state.selected !== null) void edit("PATCH", `/targets/${state.selected}`, values);
  },
  onBox: ([x, y, w, h]) => {
    if (state.selected !== null) void setKeyframe(state.selected, state.shown, { x, y, w, h });
  },
  onType: settle,
  onBadBox: () => say("Not taken: a box needs four numbers, with a width and a height above 0."),
});

// --- what is where -----------------------------------------------------------------------------------------

/** @param {number | null} id */
function targetOf(id) {
  return state.targets.find((target) => target.id === id) ?? null;
}

function selectedTarget() {
  return targetOf(state.selected);
}

/** @returns {import("./view.js").Shape[]} */
function shapes() {
  return state.targets.flatMap((target) => {
    const row = target.boxes.get(state.shown);
    const moved = nudge && nudge.id === target.id && nudge.frame === state.shown ? nudge.box : null;
    if (!row?.box && !moved) return [];
    return [
      {
        id: target.id,
        name: target.name,
        color: target.color,
        box: moved ?? /** @type {Row} */ (row).box,
        lost: Boolean(row?.lost),
        keyframe: Boolean(row?.keyframe),
        interpolated: row?.source === "interpolation",
        outdated: Boolean(row?.outdated),
        score: row?.score ?? 1,
        selected: target.id === state.selected,
      },
    ];
  });
}

/** Whether a drag beside the selected box draws: a new target, or one that has no box here or was lost. */
function drawsNow() {
  if (state.drawing || state.targets.length === 0) return true;
  const row = selectedTarget()?.boxes.get(state.shown);
  return state.selected !== null && (!row?.box || row.lost);
}

// --- changes -----------------------------------------------------------------------------------------------

/**
 * Send an edit after those before it, and show what the server made of it.
 * @param {string} method @param {string} path below the clip @param {object} [body]
 * @returns {Promise<any>} the answer; null if it failed, which is then shown
 */
function edit(method, path, body) {
  const clip = state.clip;
  const sent = { method, path: `/api/clips/${clip?.id}${path}`, body: body ?? {} };
  if (clip) waiting.add(sent);
  const done = edits.then(async () => {
    if (!waiting.delete(sent) || !clip || state.clip?.id !== clip.id) return null;
    try {
      const answer = await call(sent.method, sent.path, sent.body);
      accept(answer);
      return answer;
    } catch (error) {
      fail(error);
      if (error instanceof ApiError) await reload().catch(fail);
      return null;
    }
  });
  edits = done;
  return done;
}

/** Sends the edits that wait for the answer to another: the page is left. */
addEventListener("pagehide", () => {
  for (const { method, path, body } of waiting) void call(method, path, body).catch(() => undefined);
  waiting.clear();
});

/** @param {any} answer state of the clip, with the boxes that changed */
function accept(answer) {
  if (answer.id !== undefined && typeof answer.id === "string" && answer.id !== state.clip?.id) return;
  state.revision = Math.max(state.revision, answer.revision);
  state.clip = { ...state.clip, ...answer, id: state.clip.id };
  const before = new Map(state.targets.map((target) => [target.id, target.boxes]));
  state.targets = answer.targets.map((/** @type {any} */ target) => ({ ...target, boxes: before.get(target.id) ?? new Map() }));
  for (const [id, rows] of Object.entries(answer.boxes ?? {})) {
    const target = targetOf(Number(id));
    if (!target) continue;
    if (answer.range === null) target.boxes = new Map();
    else for (let frame = answer.range[0]; frame <= answer.range[1]; frame += 1) target.boxes.delete(frame);
    for (const row of /** @type {any[]} */ (rows)) putRow(target, row);
  }
  if (!targetOf(state.selected)) state.selected = state.targets[0]?.id ?? null;
  showAll();
  askForDoubts();
}

/** @param {Target} target @param {any[]} packed @returns {number} the frame */
function putRow(target, [frame, x, y, w, h, score, flags, source]) {
  const box = x === null ? null : { x, y, w, h };
  target.boxes.set(frame, { box, score, keyframe: (flags & 1) > 0, lost: (flags & 2) > 0, outdated: (flags & 4) > 0, source });
  return frame;
}

/** Load everything about the clip again. */
async function reload() {
  const id = state.clip.id;
  const [clip, boxes] = await Promise.all([call("GET", `/api/clips/${id}`), call("GET", `/api/clips/${id}/boxes`)]);
  accept({ ...clip, boxes: boxes.boxes, range: null });
  setTracking(clip.tracking ? (state.tracking ?? { done: 0, total: 0, seconds: 0 }) : null);
}

/** @param {Box} box */
async function drawn(box) {
  const frame = state.shown;
  const target = selectedTarget();
  if (!state.drawing && target) {
    await setKeyframe(target.id, frame, box);
    return;
  }
  state.drawing = false;
  const names = new Set(state.targets.map((each) => each.name));
  let number = state.targets.length + 1;
  while (names.has(`target ${number}`)) number += 1;
  const label = target?.label ?? "object";
  const answer = await edit("POST", "/targets", { name: `target ${number}`, label, frame, box: [box.x, box.y, box.w, box.h] });
  if (!answer) return;
  state.selected = state.targets.at(-1)?.id ?? state.selected;
  showAll();
}

/** @param {number} id @param {number} frame @param {Box | null} box */
async function setKeyframe(id, frame, box) {
  const target = targetOf(id);
  if (!target) return;
  if (!state.online) {
    say("Not saved: the server does not answer.");
    return;
  }
  say("");
  const before = target.boxes.get(frame);
  target.boxes.set(frame, { box, score: 1, keyframe: true, lost: false, outdated: false, source: "saving" }); // until the server has kept it
  showFrame();
  const answer = await edit("PUT", `/targets/${id}/keyframes/${frame}`, { box: box && [box.x, box.y, box.w, box.h] });
  if (answer || state.online) return;
  if (before) target.boxes.set(frame, before); // it was not kept, so it is not shown
  else target.boxes.delete(frame);
  showFrame();
}

async function markAbsent() {
  const target = selectedTarget();
  const frame = seenFrame();
  if (!target || frame === null) return;
  const again = foundAgain(target, frame);
  let seen = frame - 1;
  while (seen >= 0 && (!target.boxes.get(seen)?.box || target.boxes.get(seen)?.lost)) seen -= 1;
  await setKeyframe(target.id, frame, null);
  if (again === null || !state.online) return;
  const before = seen < 0 ? "" : `It was last seen in frame ${seen}. `;
  say(`${target.name} is absent from here on. ${before}The tracker found it again in frame ${again}. Look before that for where it comes back, and drag a box there.`, 20_000);
}

/**
 * The frame in which the tracker found a target again for a while, after it had lost it.
 * @param {Target} target @param {number} from @returns {number | null} null if it did not before the next keyframe
 */
function foundAgain(target, from) {
  let lost = false;
  let began = 0;
  for (let frame = from; frame < state.clip.video.frame_count; frame += 1) {
    const row = target.boxes.get(frame);
    if (!row?.box || (row.keyframe && frame > from)) return null;
    if (row.lost) {
      lost = true;
      began = frame + 1;
    } else if (lost && frame - began + 1 >= FOUND_FRAMES) return began;
  }
  return null;
}

async function removeKeyframe() {
  const target = selectedTarget();
  const frame = seenFrame();
  if (frame === null) return;
  if (target?.boxes.get(frame)?.keyframe) await edit("DELETE", `/targets/${target.id}/keyframes/${frame}`);
  else say("There is no keyframe of the selected target in this frame.");
}

async function confirm() {
  const target = selectedTarget();
  const frame = seenFrame();
  const row = target?.boxes.get(frame ?? -1);
  if (!target || frame === null || !row?.box) return;
  await setKeyframe(target.id, frame, row.box);
  say(`Keyframe set. ${nextStep()}`);
}

/** @param {"undo" | "redo"} which */
async function goThroughHistory(which) {
  keepNudge();
  const answer = await edit("POST", `/${which}`);
  if (!answer) return;
  const what = answer.edit?.replace(/^(\w+) target (?=target )/, "$1 "); // a target that is called "target 1"
  say(what ? `${which === "undo" ? "Undone" : "Done again"}: ${what}` : `Nothing to ${which}.`);
}

/** @param {number} dx @param {number} dy @param {boolean} resize */
function nudgeBox(dx, dy, resize) {
  const target = selectedTarget();
  if (!target) return;
  const box = nudge?.id === target.id && nudge.frame === state.shown ? nudge.box : target.boxes.get(state.shown)?.box;
  if (!box) {
    if (!resize && dx) seek(state.frame + Math.sign(dx) * (Math.abs(dx) > 1 ? 10 : 1));
    return;
  }
  const frame = seenFrame();
  if (frame === null) return;
  if (nudge && (nudge.id !== target.id || nudge.frame !== frame)) keepNudge();
  window.clearTimeout(nudge?.timer);
  const moved = resize ? { ...box, w: Math.max(1, box.w + dx), h: Math.max(1, box.h + dy) } : { ...box, x: box.x + dx, y: box.y + dy };
  nudge = { frame, id: target.id, box: moved, timer: window.setTimeout(keepNudge, NUDGE_MS) };
  view.paint();
}

function keepNudge() {
  if (!nudge) return;
  const { id, frame, box, timer } = nudge;
  window.clearTimeout(timer);
  nudge = null;
  void setKeyframe(id, frame, box);
}

// --- the frame that is edited is the one that is seen -------------------------------------------------------

/** Stay with the picture that is seen: it is edited. */
function settle() {
  setPlaying(false);
  state.follows = false;
  if (state.shown >= 0 && state.frame !== state.shown) seek(state.shown, false);
}

/** The frame that keys and buttons edit; null, which is then said, while a picture that the person asked for is not here. */
function seenFrame() {
  if (state.shown !== state.frame && !state.playing && !state.follows) {
    say(refusal());
    return null;
  }
  settle();
  return state.shown;
}

function refusal() {
  return `${notHere()} Nothing was changed.`;
}

function notHere() {
  return state.frame === state.unreadable ? `Frame ${state.frame} cannot be shown.` : `Frame ${state.frame} is still loading.`;
}

/** After a short while without the wanted picture, say so. */
function showWaiting() {
  const waits = state.shown >= 0 && state.shown !== state.frame && !state.follows;
  if (!waits) {
    window.clearTimeout(calmTimer);
    calmTimer = 0;
    slow = false;
  } else {
    calmTimer ||= window.setTimeout(() => {
      slow = true;
      showWaiting();
    }, CALM_MS);
  }
  document.body.classList.toggle("waits", slow);
  find("waiting").textContent = !slow ? "" : state.frame === state.unreadable ? notHere() : `Loading frame ${state.frame}`;
  find("frame-title").textContent = slow ? `In frame ${state.shown}` : "In this frame";
}

// --- time --------------------------------------------------------------------------------------------------

/** @param {number} frame @param {boolean} [byPerson] */
function seek(frame, byPerson = true) {
  if (!state.clip) return;
  if (byPerson) {
    state.follows = false;
    keepNudge();
    panel.keepTyped();
    if (view.busy) view.cancelDrag();
    if (state.playing && frame !== state.frame) setPlaying(false);
  }
  state.frame = Math.min(state.clip.video.frame_count - 1, Math.max(0, Math.round(frame)));
  state.unreadable = -1;
  if (byPerson) localStorage.setItem(`frame of ${state.clip.id}`, String(state.frame));
  frames?.want(state.frame, state.follows);
  if (state.follows) return; // all of it is painted at once, with the picture: painting costs time that tracking needs
  timeline.follow();
  showFrame();
}

/** @param {boolean} playing */
function setPlaying(playing) {
  if (playing === state.playing || !state.clip) return;
  keepNudge();
  state.playing = playing;
  const button = find("play");
  button.setAttribute("aria-label", playing ? "Pause" : "Play");
  button.title = `${playing ? "Pause" : "Play"} (Space)`;
  button.querySelector("use")?.setAttribute("href", playing ? "#i-pause" : "#i-play");
  if (!playing) return;
  if (state.frame >= state.clip.video.frame_count - 1) seek(0, false);
  state.follows = false;
  let due = performance.now();
  const tick = (/** @type {number} */ now) => {
    if (!state.playing || !state.clip) return;
    const wait = 1000 / (state.clip.video.fps * Number(/** @type {HTMLSelectElement} */ (find("speed")).value));
    if (now >= due && state.shown === state.frame) {
      if (state.frame >= state.clip.video.frame_count - 1) {
        setPlaying(false);
        return;
      }
      due = Math.max(due + wait, now - wait);
      seek(state.frame + 1, false);
    }
    requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
}

/** @param {1 | -1} direction */
function goToKeyframe(direction) {
  const target = selectedTarget();
  if (!target) return;
  const numbers = [...target.boxes].filter(([, row]) => row.keyframe).map(([frame]) => frame).sort((a, b) => a - b);
  const found = direction > 0 ? numbers.find((frame) => frame > state.frame) : numbers.reverse().find((frame) => frame < state.frame);
  if (found === undefined) say(direction > 0 ? "No keyframe after this frame." : "No keyframe before this frame.");
  else seek(found);
}

/** What to do when a frame is looked at. */
function nextStep() {
  if (!state.targets.length) return "Draw a box first.";
  if (state.doubts.some((doubt) => doubt.frame !== state.frame || doubt.target !== state.selected)) return `Look here next${key("J")} goes to the next frame in doubt.`;
  if (state.targets.some((target) => target.stale.length)) return `Press Track${key("T")} to track what changed.`;
  return "No other frame is in doubt.";
}

function goToDoubt() {
  const here = state.doubts.findIndex((doubt) => doubt.frame === state.frame && doubt.target === state.selected);
  const doubt = state.doubts[(here + 1) % Math.max(1, state.doubts.length)];
  if (!doubt) {
    say(nextStep());
    return;
  }
  select(doubt.target);
  seek(doubt.frame);
  const lost = targetOf(doubt.target)?.boxes.get(doubt.frame)?.lost;
  say(`Frame ${doubt.frame}: ${doubt.reason}. ${lost ? `Drag a box around the target, or press Absent${key("A")}.` : `Correct the box, or Confirm${key("Enter")} if it is right.`}`);
}

/** @param {number} id */
function select(id) {
  if (state.selected !== id) keepNudge();
  state.selected = id;
  state.drawing = false;
  showAll();
}

// --- tracking ----------------------------------------------------------------------------------------------

/** @param {object} [limits] */
async function track(limits = {}) {
  if (!state.clip || state.tracking) return;
  keepNudge();
  await edits;
  if (!state.targets.some((target) => target.stale.length)) {
    say(state.targets.length ? "All of it is tracked. Correct a box to track its stretch anew." : "Draw a box first.");
    return;
  }
  setPlaying(false);
  state.returnTo = state.frame;
  state.follows = true;
  setTracking({ done: 0, total: 0, seconds: 0 });
  try {
    await call("POST", `/api/clips/${state.clip.id}/track`, limits);
  } catch (error) {
    setTracking(null);
    fail(error);
  }
}

async function stopTracking() {
  if (!state.tracking) return;
  try {
    await call("POST", `/api/clips/${state.clip.id}/stop`, {});
  } catch (error) {
    fail(error);
  }
}

/** @param {typeof state.tracking} tracking */
function setTracking(tracking) {
  state.tracking = tracking;
  showProgress();
  showHint();
}

/** @param {any[]} messages */
function receive(messages) {
  let picture = -1; // the frame that the tracker has just seen: the server need not decode it again
  let repaint = false;
  for (const message of messages) {
    if (message.type === "boxes") {
      state.tracking = { done: message.done, total: message.total, seconds: message.seconds };
      picture = message.picture ?? picture;
      const target = targetOf(message.target);
      if (!target) continue;
      for (const row of message.boxes) {
        if (target.boxes.get(row[0])?.keyframe) continue;
        if (putRow(target, row) === state.shown) repaint = true;
      }
    } else if (message.type === "tracked") {
      void tracked(message);
    } else if (message.type === "changed" && message.revision > state.revision) {
      edits = edits.then(() => (message.revision > state.revision ? reload().catch(fail) : null));
    }
  }
  if (!state.tracking) return;
  if (state.follows && picture >= 0 && state.shown === state.frame) seek(picture, false);
  else if (repaint) showFrame();
  progressTimer ||= window.setTimeout(showNewBoxes, state.follows ? 5 * PROGRESS_MS : PROGRESS_MS);
}

/** How far tracking is, on its bar and in the timeline. */
function showNewBoxes() {
  window.clearTimeout(progressTimer);
  progressTimer = 0;
  showProgress();
  if (state.follows) timeline.follow();
  else timeline.paint();
}

/** @param {{outcome: string, error: string | null}} message */
async function tracked(message) {
  const followed = state.follows;
  state.follows = false;
  setTracking(null);
  if (message.error) fail(new Error(message.error));
  await reload().catch(fail);
  if (followed) seek(message.outcome === "stopped" ? state.shown : state.returnTo, false);
  if (message.outcome === "stopped") say("Stopped. What was tracked stays.");
  if (message.outcome === "finished") say("Tracked.");
}

function askForDoubts() {
  window.clearTimeout(doubtTimer);
  doubtTimer = window.setTimeout(async () => {
    if (!state.clip || state.tracking) return;
    const id = state.clip.id;
    try {
      const answer = await call("GET", `/api/clips/${id}/suggestions`);
      if (state.clip?.id === id) state.doubts = answer.suggestions;
    } catch (error) {
      fail(error);
    }
    showButtons();
    timeline.paint();
  }, 150);
}

// --- showing -----------------------------------------------------------------------------------------------

function showAll() {
  panel.showTargets(state.targets, state.selected, (id) => {
    const target = targetOf(id);
    const keyframes = [...(target?.boxes.values() ?? [])].filter((row) => row.keyframe).length;
    return keyframes ? `◆ ${keyframes}` : "";
  });
  panel.showDetails(selectedTarget());
  showFrame();
  showButtons();
  showProgress();
  timeline.paint();
}

/** What depends on the frame. */
function showFrame() {
  const clip = state.clip;
  find("no-targets").hidden = !clip || state.shown < 0 || state.targets.length > 0;
  if (!clip) {
    for (const id of ["frame-count", "clock", "announce"]) find(id).textContent = "";
    showHint();
    view.paint();
    return;
  }
  const { frame_count: count, fps } = clip.video;
  const field = /** @type {HTMLInputElement} */ (find("frame"));
  field.max = String(count - 1);
  if (document.activeElement !== field) field.value = String(state.frame);
  find("frame-count").textContent = `of ${count - 1}`;
  find("clock").textContent = `${clock(state.frame / fps)} / ${clock(count / fps)}`;
  const slider = find("timeline");
  slider.setAttribute("aria-valuemax", String(count - 1));
  slider.setAttribute("aria-valuenow", String(state.frame));
  slider.setAttribute("aria-valuetext", `frame ${state.frame} of ${count - 1}`);
  const target = selectedTarget();
  const row = target?.boxes.get(state.shown);
  panel.showBox(row, target ? describe(row) : "");
  if (!state.playing && !state.follows && state.shown === state.frame && target) {
    const box = row?.box ? `, x ${row.box.x.toFixed(0)}, y ${row.box.y.toFixed(0)}, ${row.box.w.toFixed(0)} by ${row.box.h.toFixed(0)}` : "";
    find("announce").textContent = `Frame ${state.frame}. ${target.name}: ${describe(row)}${box}`;
  }
  /** @type {HTMLButtonElement} */ (find("remove-keyframe")).disabled = !row?.keyframe;
  /** @type {HTMLButtonElement} */ (find("confirm")).disabled = !row?.box || row.keyframe;
  /** @type {HTMLButtonElement} */ (find("absent")).disabled = Boolean(row && row.box === null && row.keyframe);
  showHint();
  showWaiting();
  view.paint();
}

/** @param {Row | undefined} row */
function describe(row) {
  if (!row) return "No box yet";
  if (row.source === "saving") return "Saving";
  if (row.box === null) return row.keyframe ? "Keyframe: absent from here on" : "Absent";
  if (row.keyframe) return "Keyframe, set by you";
  if (row.outdated) return "Outdated: from before your last change";
  if (row.lost) return "Lost by the tracker";
  if (row.source === "interpolation") return "Between keyframes, not tracked yet";
  if (row.source === "import") return "Imported";
  return `Tracked, score ${row.score.toFixed(2)}`;
}

/** How many frames of all targets are to be tracked. */
function staleFrames() {
  return state.targets.reduce((sum, target) => sum + target.left, 0);
}

/** @param {number} count @param {number} targets that have them */
function framesOf(count, targets) {
  const frames = count === 1 ? "1 frame" : `${count} frames`;
  return targets > 1 ? `${frames} of ${targets} targets together` : frames;
}

function showButtons() {
  const clip = state.clip;
  const ready = Boolean(clip) && state.online;
  const set = (/** @type {string} */ id, /** @type {boolean} */ on) => {
    /** @type {HTMLButtonElement} */ (find(id)).disabled = !on;
  };
  set("undo", ready && clip.can_undo);
  set("redo", ready && clip.can_redo);
  set("export", ready && state.targets.length > 0);
  set("import", ready && !state.tracking);
  set("new-target", ready);
  set("next-doubt", ready && state.doubts.length > 0);
  find("doubt-count").textContent = state.doubts.length ? String(state.doubts.length) : "";
  find("saved").textContent = clip ? `saved in ${clip.project}` : "";
  const button = /** @type {HTMLButtonElement} */ (find("track"));
  button.classList.toggle("stop", Boolean(state.tracking));
  if (state.tracking) {
    button.textContent = "Stop";
    button.title = "Stop tracking; what was made stays (Esc)";
    button.disabled = !state.online;
  } else {
    const stale = staleFrames();
    const targets = state.targets.filter((target) => target.stale.length).length;
    const what = targets > 1 ? `${targets} targets` : framesOf(stale, 1);
    button.textContent = stale ? `Track ${what}` : state.targets.length ? "All tracked" : "Track";
    button.title = `Track what is not tracked yet${stale ? `: ${framesOf(stale, targets)}` : ""} (T)`;
    button.disabled = !ready || !stale;
  }
}

function showProgress() {
  const { tracking } = state;
  find("progress").hidden = !tracking;
  if (tracking) {
    const bar = /** @type {HTMLProgressElement} */ (find("progress-bar"));
    if (tracking.total) bar.value = tracking.done / tracking.total;
    else bar.removeAttribute("value");
    const rate = tracking.seconds > 1.5 ? tracking.done / tracking.seconds : 0;
    const left = rate ? Math.ceil((tracking.total - tracking.done) / rate) : 0;
    find("progress-text").textContent = tracking.total ? `${Math.round((100 * tracking.done) / tracking.total)} %${left > 1 ? `, ${left} s left` : ""}` : "starting";
  }
  showButtons();
}

let said = "";
let saidTimer = 0;

const touch = window.matchMedia("(hover: none)");

/** The key that does the same as a button, where there may be a keyboard. @param {string} name */
function key(name) {
  return touch.matches ? "" : ` (${name})`;
}

/** Say something for a few seconds, where the hint is. @param {string} text @param {number} [duration] */
function say(text, duration = 4500) {
  said = text;
  window.clearTimeout(saidTimer);
  saidTimer = window.setTimeout(() => {
    said = "";
    showHint();
  }, duration);
  showHint();
}

/** What was said is of the action before. */
function unsay() {
  said = "";
  showHint();
}

/** One line on what to do next. */
function showHint() {
  let hint = said;
  const target = selectedTarget();
  const row = target?.boxes.get(state.shown);
  if (!hint && state.clip && state.online && state.shown >= 0 && !state.playing) {
    if (state.tracking) hint = `Tracking. Stop${key("Esc")} keeps what was made.`;
    else if (state.drawing) hint = "Drag a box around the next target.";
    else if (!state.targets.length) hint = "Drag a box around the thing that you want to follow.";
    else if (target && !row) hint = `Drag a box around ${target.name} here, or press Track${key("T")}.`;
    else if (row?.outdated) hint = `Press Track${key("T")} to track this stretch again.`;
    else if (row?.box === null) hint = `${target?.name} is absent here. Drag a box where it comes back.`;
    else if (row?.lost) hint = `Lost here. Drag a box around the target, or press Absent${key("A")}.`;
    else if (row?.keyframe && target?.stale.length) {
      const alone = [...target.boxes.values()].filter((each) => each.keyframe).length === 1;
      hint = alone ? `Press Track${key("T")} to follow it through the clip.` : `Press Track${key("T")} to track again what this changes.`;
    }
  }
  const element = find("hint");
  if (element.textContent !== hint) element.textContent = hint;
}

/** @param {number} seconds */
function clock(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds - 60 * minutes).toFixed(2).padStart(5, "0")}`;
}

/** @param {unknown} error */
function fail(error) {
  if (error instanceof OfflineError) {
    lost();
    return;
  }
  if (error instanceof ApiError && error.status === 400 && state.clip) {
    say(error.message, 12_000); // what was entered is not possible: nothing is broken
    return;
  }
  console.error(error);
  banner(error instanceof ApiError && error.status === 403 ? NEW_SERVER : /** @type {Error} */ (error).message || String(error), true);
}

/** @param {string} text @param {boolean} closes */
function banner(text, closes) {
  find("banner-text").textContent = text;
  find("banner-close").hidden = !closes;
  find("banner").hidden = !text;
}

function lost() {
  if (!state.online) return;
  state.online = false;
  setPlaying(false);
  banner(OFFLINE, false);
  showButtons();
}

/** @param {boolean} again */
async function connected(again) {
  if (!again && state.online) return;
  try {
    if (state.clip) await reload();
    state.online = true;
    banner("", false);
    frames?.want(state.frame);
    showAll();
    say("Connected again.");
  } catch (error) {
    fail(error);
  }
}

/** After a connection is lost: is the server back, and does it still know this page? */
async function whileLost() {
  try {
    const known = await call("GET", "/api/clips");
    if (!state.clip || known.clips.some((/** @type {{id: string}} */ clip) => clip.id === state.clip.id)) return;
    location.reload();
  } catch (error) {
    if (error instanceof ApiError && error.status === 403) banner(NEW_SERVER, false);
    else if (error instanceof OfflineError) lost();
  }
}

// --- clips -------------------------------------------------------------------------------------------------

/** @param {string} id */
async function openClip(id) {
  setPlaying(false);
  keepNudge();
  await edits;
  stopListening();
  frames?.close();
  frames = null;
  Object.assign(state, { clip: null, targets: [], selected: null, frame: 0, shown: -1, tracking: null, doubts: [], revision: 0, drawing: false });
  view.picture = null;
  showWaiting();
  said = "";
  find("empty").hidden = true;
  find("loading").hidden = false;
  banner("", false);
  showAll();
  try {
    const [clip, boxes] = await Promise.all([call("GET", `/api/clips/${id}`), call("GET", `/api/clips/${id}/boxes`)]);
    state.clip = clip;
    document.title = `${clip.name} – singletrack label`;
    view.setSource(clip.video.width, clip.video.height);
    frames = new Frames(id, clip.video, {
      onFrame: (number, picture) => {
        if (number !== state.frame) return;
        if (said === refusal()) said = ""; // it is here now
        state.shown = number;
        find("loading").hidden = true;
        view.show(picture);
        showFrame();
        if (state.follows) showNewBoxes();
        document.body.dataset.frame = String(number);
      },
      onError: (error) => {
        find("loading").hidden = true;
        if (error instanceof ApiError) state.unreadable = state.frame;
        showWaiting();
        fail(error);
      },
    });
    frames.fitScale(view.shownWidth);
    timeline.reset();
    accept({ ...clip, boxes: boxes.boxes, range: null });
    const first = Math.min(...state.targets.flatMap((target) => [...target.boxes].filter(([, row]) => row.keyframe).map(([frame]) => frame)));
    const last = localStorage.getItem(`frame of ${id}`); // where the person was
    seek(last === null ? (Number.isFinite(first) ? first : 0) : Number(last), false);
    if (clip.tracking) setTracking({ done: 0, total: 0, seconds: 0 });
    if (clip.read_only) banner("This project is open elsewhere; here it can only be read.", true);
    stopListening = listen(id, {
      onMessages: receive,
      onOpen: (again) => void connected(again),
      onLost: () => {
        lost();
        void whileLost();
      },
    });
  } catch (error) {
    find("loading").hidden = true;
    fail(error);
  }
}

async function start() {
  try {
    const answer = await call("GET", "/api/clips");
    state.clips = answer.clips;
  } catch (error) {
    fail(error);
    window.setTimeout(start, 1500);
    return;
  }
  showClips();
  const wanted = new URLSearchParams(location.hash.slice(1)).get("clip");
  const clip = state.clips.find((each) => each.id === wanted) ?? state.clips[0];
  if (clip) {
    /** @type {HTMLSelectElement} */ (find("clip")).value = clip.id;
    await openClip(clip.id);
  } else {
    find("empty").hidden = false;
    showButtons();
  }
}

function showClips() {
  const select = /** @type {HTMLSelectElement} */ (find("clip"));
  select.replaceChildren(...state.clips.map((clip) => make("option", { value: clip.id }, clip.name)));
  select.disabled = state.clips.length < 2;
  select.hidden = state.clips.length === 0;
}

/** @param {File} file */
async function upload(file) {
  find("empty").hidden = true;
  const loading = find("loading");
  loading.hidden = false;
  loading.textContent = `Copying ${file.name}`;
  try {
    const clip = await call("POST", `/api/clips?${new URLSearchParams({ name: file.name })}`, file);
    state.clips.push(clip);
    showClips();
    /** @type {HTMLSelectElement} */ (find("clip")).value = clip.id;
    loading.textContent = "Opening the clip";
    await openClip(clip.id);
  } catch (error) {
    loading.hidden = true;
    find("empty").hidden = Boolean(state.clip);
    fail(error instanceof OfflineError ? new Error("The clip could not be sent. It may be larger than the limit (--upload-limit).") : error);
  } finally {
    loading.textContent = "Opening the clip";
  }
}

// --- buttons, keys, drops ----------------------------------------------------------------------------------

/** @type {Record<string, () => void>} */
const actions = {
  previous: () => seek(state.frame - 1),
  next: () => seek(state.frame + 1),
  previousTen: () => seek(state.frame - 10),
  nextTen: () => seek(state.frame + 10),
  first: () => seek(0),
  last: () => seek(Infinity === state.clip?.video.frame_count ? 0 : (state.clip?.video.frame_count ?? 1) - 1),
  nextKeyframe: () => goToKeyframe(1),
  previousKeyframe: () => goToKeyframe(-1),
  doubt: goToDoubt,
  newTarget: () => {
    if (!state.clip) return;
    setPlaying(false);
    state.drawing = true;
    showHint();
    view.paint();
    find("picture").focus();
  },
  confirm: () => void confirm(),
  absent: () => void markAbsent(),
  removeKeyframe: () => void removeKeyframe(),
  track: () => void track(),
  trackOn: () => {
    if (state.selected !== null) void track({ targets: [state.selected], first: state.frame });
  },
  stop: () => {
    if (view.cancelDrag()) return;
    if (state.drawing) {
      state.drawing = false;
      showHint();
      view.paint();
    } else if (state.tracking) void stopTracking();
    else setPlaying(false);
  },
  undo: () => void goThroughHistory("undo"),
  redo: () => void goThroughHistory("redo"),
  fit: () => view.fit(),
  zoomIn: () => view.zoomBy(1.25),
  zoomOut: () => view.zoomBy(0.8),
  help: openHelp,
  play: () => setPlaying(!state.playing),
};

const STEPS = ["previous", "next", "previousTen", "nextTen"];

/** @param {EventTarget | null} element */
function isTyping(element) {
  return element instanceof HTMLElement && (element.matches("input:not([type=radio]):not([type=checkbox]):not([type=color]), textarea, select") || element.isContentEditable);
}

// After a click, keys are for the picture: Enter confirms the box and does not press the button again. Whoever goes
// through the buttons by the keyboard stays there.
document.addEventListener("click", (event) => {
  const pressed = event.target instanceof Element && event.target.closest("button, li"); // the list of targets may be a new one already
  if (pressed && event.detail > 0 && !document.querySelector("dialog[open]") && !isTyping(document.activeElement)) find("picture").focus({ preventScroll: true });
});
find("speed").addEventListener("change", () => find("picture").focus({ preventScroll: true }));

/** Only who goes through the page with Tab needs to see where it is. */
for (const [kind, on] of /** @type {[string, boolean][]} */ ([["keydown", true], ["pointerdown", false]])) {
  document.addEventListener(kind, (event) => {
    if (event instanceof PointerEvent || /** @type {KeyboardEvent} */ (event).key === "Tab") document.body.classList.toggle("by-keyboard", on);
  }, true);
}

let valueBefore = ""; // of the field in which somebody types
document.addEventListener("focusin", (event) => {
  if (event.target instanceof HTMLInputElement) valueBefore = event.target.value;
});

/** Leave a field as it was before somebody typed in it. @param {HTMLElement} field */
function takeBack(field) {
  if (field instanceof HTMLInputElement) field.value = valueBefore;
  field.blur();
  showAll(); // it may have changed meanwhile
}

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  const element = /** @type {HTMLElement} */ (event.target);
  if (isTyping(element)) {
    if (event.key === "Escape") takeBack(element);
    else if (event.key === "Enter" && element.tagName === "INPUT") element.blur();
    return;
  }
  if (event.key === " ") {
    if (element.matches("button, li, summary, a")) return;
    event.preventDefault();
    if (!event.repeat) {
      view.spaceHeld = true;
      view.spaceUsed = false;
    }
    return;
  }
  if (event.key === "Enter" && element.matches("button, li, a")) return;
  const action = actionOf(event);
  if (!action) return;
  event.preventDefault();
  if (event.repeat && STEPS.includes(action) && state.shown !== state.frame) return; // a held key goes as fast as frames come
  if (action.startsWith("arrow")) {
    const step = event.shiftKey ? 10 : 1;
    const [dx, dy] = { arrowleft: [-step, 0], arrowright: [step, 0], arrowup: [0, -step], arrowdown: [0, step] }[action] ?? [0, 0];
    if (element.id === "timeline") seek(state.frame + (dx || -dy));
    else nudgeBox(dx, dy, event.altKey);
  } else if (action.startsWith("select")) {
    const target = state.targets[Number(action.slice(6)) - 1];
    if (target) select(target.id);
  } else if (!(event.repeat && ["track", "absent", "newTarget", "help", "confirm", "removeKeyframe"].includes(action))) actions[action]();
});

for (const kind of ["keydown", "pointerdown"]) document.addEventListener(kind, unsay, true);

document.addEventListener("keyup", (event) => {
  if (event.key !== " " || !view.spaceHeld) return;
  view.spaceHeld = false;
  if (!view.spaceUsed) actions.play();
});
window.addEventListener("blur", () => {
  view.spaceHeld = false;
});

/** @type {Record<string, string>} */
const BUTTONS = {
  undo: "undo", redo: "redo", "next-doubt": "doubt", help: "help", fit: "fit", "new-target": "newTarget", confirm: "confirm",
  absent: "absent", "remove-keyframe": "removeKeyframe", prev: "previous", next: "next", "prev-key": "previousKeyframe",
  "next-key": "nextKeyframe", play: "play",
};
for (const [id, action] of Object.entries(BUTTONS)) find(id).addEventListener("click", () => actions[action]());
find("track").addEventListener("click", () => void (state.tracking ? stopTracking() : track()));
find("export").addEventListener("click", () => void openExport(state.clip, staleFrames(), state.targets.filter((target) => target.stale.length).length).catch(fail));
find("import").addEventListener("click", () => void openImport(state.clip, (answer) => {
  accept(answer);
  say(`Added ${answer.ids.length} ${answer.ids.length === 1 ? "target" : "targets"}.`);
}).catch(fail));
find("remove-target").addEventListener("click", () => {
  const target = selectedTarget();
  if (!target) return;
  void edit("DELETE", `/targets/${target.id}`).then((answer) => answer && say(`Removed ${target.name}. Undo${key("Ctrl+Z")} brings it back.`));
});
find("banner-close").addEventListener("click", () => banner("", false));
const clipSelect = /** @type {HTMLSelectElement} */ (find("clip"));
clipSelect.addEventListener("change", () => {
  location.hash = `clip=${clipSelect.value}`;
  clipSelect.blur();
  void openClip(clipSelect.value);
});
const frameField = /** @type {HTMLInputElement} */ (find("frame"));
frameField.addEventListener("change", () => {
  if (Number.isFinite(frameField.valueAsNumber)) seek(frameField.valueAsNumber);
  frameField.value = String(state.frame);
});
find("choose-clip").addEventListener("click", () => find("clip-file").click());
const clipFile = /** @type {HTMLInputElement} */ (find("clip-file"));
clipFile.addEventListener("change", () => {
  const file = clipFile.files?.[0];
  if (file) void upload(file);
  clipFile.value = "";
});
let dragDepth = 0;
document.addEventListener("dragenter", (event) => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  dragDepth += 1;
  find("drop").hidden = false;
});
document.addEventListener("dragleave", () => {
  dragDepth = Math.max(0, dragDepth - 1);
  if (!dragDepth) find("drop").hidden = true;
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  dragDepth = 0;
  find("drop").hidden = true;
  const file = event.dataTransfer?.files[0];
  if (file) void upload(file);
});

void start();
