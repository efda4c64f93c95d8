/** The list of targets, and the fields of the selected one. */

import { find, make } from "./dialogs.js";

/**
 * @typedef {import("./app.js").Target} Target
 * @typedef {import("./app.js").Row} Row
 */

export class Panel {
  /**
   * @param {{onSelect: (id: number) => void, onChange: (values: object) => void, onBox: (box: number[]) => void,
   *   onType: () => void, onBadBox: () => void}} listener
   */
  constructor({ onSelect, onChange, onBox, onType, onBadBox }) {
    this.onSelect = onSelect;
    this.onChange = onChange;
    /** @type {Target | null} */
    this.target = null;
    this.shown = ["", "", "", ""]; // what the fields of the box say when nobody types
    this.list = find("targets");
    this.list.addEventListener("click", (event) => {
      const item = /** @type {HTMLElement} */ (event.target).closest("li");
      if (item) onSelect(Number(item.dataset.id));
    });
    this.list.addEventListener("keydown", (event) => {
      const item = /** @type {HTMLElement} */ (event.target).closest("li");
      if (item && (event.key === "Enter" || event.key === " ")) {
        event.preventDefault();
        event.stopPropagation();
        onSelect(Number(item.dataset.id));
      }
    });
    for (const name of ["name", "label", "color"]) {
      const field = /** @type {HTMLInputElement} */ (find(`target-${name}`));
      field.addEventListener("change", () => {
        if (field.value.trim()) onChange({ [name]: field.value.trim() });
        else if (this.target) field.value = /** @type {any} */ (this.target)[name];
      });
    }
    this.numbers = ["x", "y", "w", "h"].map((name) => /** @type {HTMLInputElement} */ (find(`box-${name}`)));
    for (const field of this.numbers) {
      field.addEventListener("focus", onType);
      field.addEventListener("change", () => {
        const box = this.numbers.map((each) => each.valueAsNumber);
        if (box.every(Number.isFinite) && box[2] > 0 && box[3] > 0) onBox(box);
        else {
          this.numbers.forEach((each, index) => (each.value = this.shown[index]));
          onBadBox();
        }
      });
    }
    find("add-attribute").addEventListener("click", () => {
      this.addAttributeRow("", "").querySelector("input")?.focus();
    });
  }

  /**
   * @param {Target[]} targets
   * @param {number | null} selected
   * @param {(id: number) => string} stateOf
   */
  showTargets(targets, selected, stateOf) {
    const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.closest("#targets li");
    const focusedId = /** @type {HTMLElement | null} */ (focused)?.dataset.id;
    this.list.replaceChildren(
      ...targets.map((target) => {
        const swatch = make("span", { class: "swatch" });
        swatch.style.background = target.color;
        const name = make("span", { class: "name" }, target.name);
        if (target.label && target.label !== target.name) name.append(make("span", { class: "label" }, target.label));
        const item = make(
          "li",
          { role: "option", tabindex: "0", "aria-selected": String(target.id === selected), "data-id": String(target.id) },
          swatch,
          name,
          make("span", { class: "state" }, stateOf(target.id)),
        );
        return item;
      }),
    );
    if (focusedId) /** @type {HTMLElement | null} */ (this.list.querySelector(`[data-id="${CSS.escape(focusedId)}"]`))?.focus();
    find("labels").replaceChildren(...[...new Set(targets.map((each) => each.label))].map((value) => make("option", { value })));
  }

  /** @param {Target | null} target */
  showDetails(target) {
    const other = target?.id !== this.target?.id;
    this.target = target;
    find("details").hidden = !target;
    if (!target) return;
    for (const name of ["name", "label", "color"]) {
      const field = /** @type {HTMLInputElement} */ (find(`target-${name}`));
      if (other || document.activeElement !== field) field.value = /** @type {any} */ (target)[name];
    }
    const body = /** @type {HTMLElement} */ (find("attributes").firstElementChild);
    if (!other && body.contains(document.activeElement)) return;
    body.replaceChildren();
    for (const [name, value] of Object.entries(target.attributes)) this.addAttributeRow(name, value);
  }

  /** @param {string} name @param {string} value */
  addAttributeRow(name, value) {
    const body = /** @type {HTMLElement} */ (find("attributes").firstElementChild);
    const fields = [
      /** @type {HTMLInputElement} */ (make("input", { "aria-label": "Attribute", placeholder: "name", maxlength: "500" })),
      /** @type {HTMLInputElement} */ (make("input", { "aria-label": "Value", placeholder: "value", maxlength: "500" })),
    ];
    [fields[0].value, fields[1].value] = [name, value];
    for (const field of fields) field.addEventListener("change", () => this.sendAttributes());
    const row = make("tr", {}, make("td", {}, fields[0]), make("td", {}, fields[1]));
    body.append(row);
    return row;
  }

  sendAttributes() {
    /** @type {Record<string, string>} */
    const attributes = {};
    let halfDone = false;
    for (const row of find("attributes").querySelectorAll("tr")) {
      const [name, value] = [...row.querySelectorAll("input")].map((field) => field.value.trim());
      if (name && value) attributes[name] = value;
      else halfDone ||= Boolean(name) !== Boolean(value) && document.activeElement !== null && row.contains(document.activeElement);
    }
    if (!halfDone) this.onChange({ attributes });
  }

  /** Take what is typed in the fields of the box now: the frame changes. */
  keepTyped() {
    this.numbers.find((field) => field === document.activeElement)?.blur();
  }

  /** @param {Row | undefined} row @param {string} text */
  showBox(row, text) {
    find("frame-state").textContent = text;
    const values = row?.box ? [row.box.x, row.box.y, row.box.w, row.box.h] : null;
    this.shown = this.numbers.map((_, index) => (values ? String(Number(values[index].toFixed(2))) : ""));
    this.numbers.forEach((field, index) => {
      if (document.activeElement !== field) field.value = this.shown[index];
    });
  }
}
