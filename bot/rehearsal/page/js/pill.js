// One option of a slash command in the composer: its name and a field that suits its type.

import { OPTION, readValue, rule } from "./commands.js";
import { append, fill, freshId, h } from "./dom.js";
import { icon } from "./icons.js";
import { fileSize } from "./uploads.js";

const FALLBACK_WIDTH_CH = 40; // the widest a field grows before it scrolls

/** Events go to `host`: {focused(pill), changed(pill), key(event, pill), removed(pill)}. */
export class Pill {
  picked = null; // {name, value} of a choice or a suggestion
  file = null;

  constructor(option, host) {
    this.option = option;
    const id = freshId("option");
    this.field = option.type === OPTION.ATTACHMENT ? this.#fileField(id, host) : this.#textField(id, host);
    this.field.addEventListener("focus", () => host.focused(this));
    this.field.addEventListener("keydown", (event) => host.key(event, this));
    this.element = h("span.pill", { class: option.required ? "pill-required" : "", dataset: { option: option.name } },
      h("label.pill-name", { for: id }, option.name),
      this.field,
      this.input ?? null,
      option.required ? null : h("button.pill-remove", { type: "button", tabindex: "-1", "aria-label": `Leave out ${option.name}`, onclick: () => host.removed(this) }, icon("close")),
    );
  }

  get isFile() {
    return this.option.type === OPTION.ATTACHMENT;
  }

  get text() {
    return this.isFile ? "" : this.field.value;
  }

  get empty() {
    return "empty" in this.read();
  }

  /** {value} | {empty} | {error}, with a missing required value as an error. */
  read() {
    return readValue(this.option, { text: this.text, picked: this.picked, file: this.file });
  }

  /** Fills the field: by hand, from a line, or with a choice that has a name and a value. */
  set(text, picked = null) {
    if (this.isFile) return;
    this.field.value = text;
    this.picked = picked;
    this.#fit();
  }

  setFile(file) {
    this.file = file;
    fill(this.field, icon("file"), file ? h("span", {}, file.name) : "Choose a file");
    if (file) append(this.field, [h("small", {}, fileSize(file.size))]);
    this.element?.classList.toggle("pill-filled", Boolean(file));
  }

  showError(message) {
    this.element.classList.toggle("pill-error", Boolean(message));
    this.field.setAttribute("aria-invalid", String(Boolean(message)));
  }

  focus() {
    this.field.focus();
    if (!this.isFile) this.field.setSelectionRange(this.field.value.length, this.field.value.length);
  }

  #textField(id, host) {
    const { option } = this;
    const numeric = option.type === OPTION.INTEGER || option.type === OPTION.NUMBER;
    const field = h("input.pill-field", {
      id, type: "text", role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", autocomplete: "off", spellcheck: "false", autocapitalize: "off",
      inputmode: numeric ? (option.type === OPTION.INTEGER && (option.min_value ?? -1) >= 0 ? "numeric" : "decimal") : null,
      "aria-required": String(Boolean(option.required)),
      "aria-description": `${option.description ?? ""}. Takes ${rule(option)}.`,
      maxlength: option.choices?.length ? null : (option.max_length ?? null),
    });
    field.addEventListener("input", () => {
      this.picked = null;
      this.#fit();
      host.changed(this);
    });
    queueMicrotask(() => this.#fit());
    return field;
  }

  #fileField(id, host) {
    this.input = h("input", { type: "file", hidden: true, tabindex: "-1", "aria-hidden": "true", onchange: () => {
      if (this.input.files[0]) this.setFile(this.input.files[0]);
      this.input.value = "";
      host.changed(this);
      this.focus();
    } });
    return h("button.pill-field.pill-file", { id, type: "button", "aria-description": this.option.description, onclick: () => this.input.click() }, icon("file"), "Choose a file");
  }

  // The field is as wide as what is in it (browsers with field-sizing do that by themselves).
  #fit() {
    if (CSS.supports("field-sizing", "content")) return;
    this.field.style.setProperty("width", `${Math.min(FALLBACK_WIDTH_CH, Math.max(3, this.field.value.length + 1))}ch`);
  }
}
