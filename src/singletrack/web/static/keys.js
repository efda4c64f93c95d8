/** The keys of the page: one table for what they do and for the help that lists them. */

/**
 * @typedef {{keys: string[], about: string, does?: string, repeat?: boolean}} Key
 * `keys` as they are shown, `does`: name of the action.
 */

/** @type {Key[]} */
export const KEYS = [
  { keys: ["Space"], about: "Play or pause; held with a drag, move the picture" },
  { keys: [",", "."], about: "One frame back, one frame on" },
  { keys: ["<", ">"], about: "Ten frames back, ten frames on" },
  { keys: ["Home", "End"], about: "First frame, last frame" },
  { keys: ["N", "P"], about: "Next keyframe, previous keyframe of the selected target" },
  { keys: ["J"], about: "Go to the frame most in doubt" },
  { keys: ["B"], about: "Draw the box of another target" },
  { keys: ["Shift+Drag"], about: "Draw the box of the selected target anew" },
  { keys: ["←", "↑", "→", "↓"], about: "Move the selected box by a pixel; with Shift by ten; with Alt, change its size" },
  { keys: ["Enter"], about: "The box is right: make it a keyframe" },
  { keys: ["A"], about: "The target is absent from this frame on" },
  { keys: ["Delete"], about: "Remove the keyframe" },
  { keys: ["T"], about: "Track what is not tracked yet" },
  { keys: ["Shift+T"], about: "Track only the selected target, from this frame on" },
  { keys: ["Esc"], about: "Stop tracking; cancel drawing" },
  { keys: ["Ctrl+Z", "Ctrl+Shift+Z"], about: "Undo, redo" },
  { keys: ["1", "…", "9"], about: "Select a target" },
  { keys: ["+", "-", "0"], about: "Zoom in, zoom out, show all of the picture" },
  { keys: ["?"], about: "Show these keys" },
];

/** @type {Record<string, string>} by KeyboardEvent.key, in small letters */
const ACTIONS = {
  ",": "previous", ".": "next", "<": "previousTen", ">": "nextTen", home: "first", end: "last", n: "nextKeyframe",
  p: "previousKeyframe", j: "doubt", b: "newTarget", enter: "confirm", a: "absent", delete: "removeKeyframe",
  backspace: "removeKeyframe", escape: "stop", "0": "fit", "+": "zoomIn", "=": "zoomIn", "-": "zoomOut", "?": "help",
};

/**
 * What a key press asks for, or null.
 * @param {KeyboardEvent} event
 * @returns {string | null}
 */
export function actionOf(event) {
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    if (key === "z") return event.shiftKey ? "redo" : "undo";
    if (key === "y") return "redo";
    return null;
  }
  if (key.startsWith("arrow")) return key;
  if (event.altKey) return null;
  if (key === "t") return event.shiftKey ? "trackOn" : "track";
  if (/^[1-9]$/.test(key)) return `select${key}`;
  return ACTIONS[key] ?? null;
}
