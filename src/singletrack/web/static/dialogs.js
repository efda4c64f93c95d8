/** Export, import and help. */

import { call, request } from "./api.js";
import { KEYS } from "./keys.js";

/** @template {HTMLElement} T @param {string} id @returns {T} */
export function find(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`no element ${id}`);
  return /** @type {T} */ (element);
}

/**
 * @param {string} tag
 * @param {Record<string, string>} [attributes]
 * @param {...(Node | string)} children text is always text
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

for (const button of document.querySelectorAll("dialog [data-close]")) {
  button.addEventListener("click", () => button.closest("dialog")?.close());
}
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}

/** @typedef {{name: string, about: string, keyframes: boolean, pictures: boolean}} Format */

/** @type {Format[] | null} */
let formats = null;
let chosen = "";

async function loadFormats() {
  formats ??= (await call("GET", "/api/formats")).formats;
  return /** @type {Format[]} */ (formats);
}

/** @param {string} id @param {Error | null} error */
function showError(id, error) {
  find(id).hidden = !error;
  find(id).textContent = error?.message ?? "";
}

/**
 * @param {{id: string, project: string}} clip
 * @param {number} stale frames that are not tracked yet
 * @param {number} targets that have them
 */
export async function openExport(clip, stale, targets) {
  const list = find("export-formats");
  showError("export-error", null);
  find("export-stale").hidden = !stale;
  find("export-stale").textContent = `${stale} ${stale === 1 ? "frame" : "frames"}${targets > 1 ? ` of ${targets} targets together` : ""} ${stale === 1 ? "is" : "are"} not tracked yet: the file gets straight lines between keyframes there, and nothing elsewhere.`;
  const rows = await loadFormats();
  chosen ||= rows[0].name;
  const tolerance = /** @type {HTMLInputElement} */ (find("export-tolerance"));
  const pictures = /** @type {HTMLInputElement} */ (find("export-pictures"));
  const options = () => {
    const row = rows.find(({ name }) => name === chosen);
    return { tolerance: row?.keyframes ? tolerance.value : "", pictures: Boolean(row?.pictures && pictures.checked) };
  };
  const tell = () => {
    const row = rows.find(({ name }) => name === chosen);
    find("export-tolerance-row").hidden = !row?.keyframes;
    find("export-pictures-row").hidden = !row?.pictures;
    const flags = [options().tolerance && ` --tolerance ${options().tolerance}`, options().pictures ? " --save-frames" : ""];
    find("export-command").textContent = `singletrack labels ${quote(clip.project)} --format ${chosen}${flags.join("")} --out PATH`;
  };
  tolerance.oninput = pictures.onchange = tell;
  list.replaceChildren(
    ...rows.map(({ name, about }) => {
      const input = /** @type {HTMLInputElement} */ (make("input", { type: "radio", name: "format", value: name }));
      input.checked = name === chosen;
      input.addEventListener("change", () => {
        chosen = name;
        tell();
      });
      return make("label", {}, input, make("span", {}, name), make("span", { class: "about" }, about));
    }),
  );
  tell();
  const go = /** @type {HTMLButtonElement} */ (find("export-go"));
  go.onclick = async () => {
    go.disabled = true;
    showError("export-error", null);
    try {
      const query = new URLSearchParams({ format: chosen, pictures: String(options().pictures) });
      if (options().tolerance) query.set("tolerance", options().tolerance);
      const response = await request("GET", `/api/clips/${clip.id}/export?${query}`);
      const name = /filename="?([^";]+)/.exec(response.headers.get("content-disposition") ?? "")?.[1] ?? "labels";
      const address = URL.createObjectURL(await response.blob());
      const link = /** @type {HTMLAnchorElement} */ (make("a", { href: address, download: name }));
      link.click();
      setTimeout(() => URL.revokeObjectURL(address), 60_000);
      find("export-dialog").close();
    } catch (error) {
      showError("export-error", /** @type {Error} */ (error));
    } finally {
      go.disabled = false;
    }
  };
  find("export-dialog").showModal();
}

/**
 * @param {{id: string}} clip
 * @param {(answer: any) => void} onDone
 */
export async function openImport(clip, onDone) {
  showError("import-error", null);
  const select = /** @type {HTMLSelectElement} */ (find("import-format"));
  const rows = await loadFormats();
  const before = select.value;
  select.replaceChildren(
    make("option", { value: "" }, "Found from the file"),
    ...rows.map(({ name }) => make("option", { value: name }, name)),
  );
  select.value = before;
  const file = /** @type {HTMLInputElement} */ (find("import-file"));
  file.value = "";
  const go = /** @type {HTMLButtonElement} */ (find("import-go"));
  go.disabled = true;
  file.onchange = () => {
    go.disabled = !file.files?.length;
  };
  go.onclick = async () => {
    const chosenFile = file.files?.[0];
    if (!chosenFile) return;
    go.disabled = true;
    showError("import-error", null);
    try {
      const query = new URLSearchParams({ name: chosenFile.name });
      if (select.value) query.set("format", select.value);
      onDone(await call("POST", `/api/clips/${clip.id}/import?${query}`, chosenFile));
      find("import-dialog").close();
    } catch (error) {
      showError("import-error", /** @type {Error} */ (error));
    } finally {
      go.disabled = !file.files?.length;
    }
  };
  find("import-dialog").showModal();
}

/** Fade the end of a list where it goes on. @param {HTMLElement} list */
function showWhetherMore(list) {
  list.classList.toggle("more", list.scrollTop + list.clientHeight < list.scrollHeight - 2);
}

for (const id of ["export-formats", "keys"]) {
  const list = find(id);
  list.addEventListener("scroll", () => showWhetherMore(list));
  new ResizeObserver(() => showWhetherMore(list)).observe(list); // also when it is shown
}

export function openHelp() {
  const rows = KEYS.map(({ keys, about }) => {
    const term = make("dt");
    keys.forEach((key, index) => term.append(index ? " " : "", key === "…" ? "…" : make("kbd", {}, key)));
    return [term, make("dd", {}, about)];
  });
  find("keys").replaceChildren(...rows.flat());
  find("help-dialog").showModal();
}

/** A path as a shell takes it. @param {string} path */
function quote(path) {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}
