/** Talks to the server: requests, and the WebSocket that brings boxes as they are tracked. */

/** An answer that says what was wrong, as a sentence for the person at the page. */
export class ApiError extends Error {
  /** @param {string} message @param {number} status */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** The server does not answer at all. */
export class OfflineError extends Error {}

/**
 * @param {string} method
 * @param {string} path
 * @param {BodyInit | object} [body] a file, or an object that is sent as JSON
 * @param {AbortSignal} [signal]
 * @returns {Promise<Response>}
 */
export async function request(method, path, body, signal) {
  const json = body !== undefined && !(body instanceof Blob);
  let response;
  try {
    response = await fetch(path, {
      method,
      signal,
      body: json ? JSON.stringify(body) : /** @type {Blob | undefined} */ (body),
      headers: json ? { "content-type": "application/json" } : {},
      keepalive: json, // an edit is kept even if the page is left at once
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new OfflineError("The server does not answer.");
  }
  if (response.ok) return response;
  const text = await response.text();
  let message = text.trim();
  try {
    message = JSON.parse(text).error ?? message;
  } catch {
    // plain text
  }
  throw new ApiError(message || `The server answered ${response.status}.`, response.status);
}

/**
 * @param {string} method
 * @param {string} path
 * @param {BodyInit | object} [body]
 * @returns {Promise<any>}
 */
export async function call(method, path, body) {
  return (await request(method, path, body)).json();
}

/**
 * Listens to a clip. Connects again when the connection breaks.
 * @param {string} clip
 * @param {{onMessages: (messages: any[]) => void, onOpen: (again: boolean) => void, onLost: () => void}} listener
 * @returns {() => void} ends it
 */
export function listen(clip, { onMessages, onOpen, onLost }) {
  /** @type {WebSocket | undefined} */
  let socket;
  /** @type {number | undefined} */
  let timer;
  let wait = 300;
  let opened = false;
  let ended = false;

  function connect() {
    socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/clips/${clip}/events`);
    socket.onopen = () => {
      wait = 300;
      onOpen(opened);
      opened = true;
    };
    socket.onmessage = (event) => onMessages(JSON.parse(event.data));
    socket.onclose = () => {
      if (ended) return;
      onLost();
      timer = window.setTimeout(connect, wait);
      wait = Math.min(2000, wait * 1.6);
    };
  }
  connect();
  return () => {
    ended = true;
    window.clearTimeout(timer);
    socket?.close();
  };
}
