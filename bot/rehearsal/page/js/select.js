// Selects of messages and modals: a button that opens a list. Strings, members and channels.

import { avatar } from "./avatar.js";
import { fill, freshId, h, place, topLayer } from "./dom.js";
import { icon } from "./icons.js";
import { Listbox } from "./listbox.js";

const CHANNEL_SELECT = 8;
const PEOPLE_SELECTS = new Set([5, 7]);

/** What a select offers: [{label, value, description, icon}]. */
function choices(component, { state }) {
  if (component.options) {
    return component.options.map((option) => ({
      label: option.label, value: option.value, description: option.description,
      icon: option.emoji ? h("span.option-emoji", { "aria-hidden": "true" }, option.emoji.id ? `:${option.emoji.name}:` : option.emoji.name) : null,
    }));
  }
  if (PEOPLE_SELECTS.has(component.type)) return [...state.members.values()].map((member) => ({ label: member.display_name, value: member.id, description: member.username, icon: avatar(member, "small") }));
  if (component.type === CHANNEL_SELECT) return state.textChannels().map((channel) => ({ label: channel.name, value: channel.id, icon: icon("hash") }));
  return [];
}

/** onCommit(values) is called when one value is chosen; where several may be, when the list closes with other values than before. */
export class Select {
  #offered;
  #least;
  #most;
  #placeholder;
  #onCommit;
  #chosen; // a Set of values
  #before = []; // what was chosen when the list opened
  #list = null; // while it is open
  #box = null;

  constructor(component, context, { disabled = false, onCommit = () => {}, labelledBy = null } = {}) {
    this.#offered = choices(component, context);
    this.#least = component.min_values ?? 1;
    this.#most = component.max_values ?? 1;
    this.#placeholder = component.placeholder ?? "Make a selection";
    this.#onCommit = onCommit;
    this.#chosen = new Set([...(component.options ?? []).filter((option) => option.default).map((option) => option.value), ...(component.default_values ?? []).map(({ id }) => id)]);
    this.face = h("span.select-face", { id: freshId("select") });
    this.button = h("button.select", {
      type: "button", disabled, "aria-haspopup": "listbox", "aria-expanded": "false",
      "aria-labelledby": labelledBy ? `${labelledBy} ${this.face.id}` : null,
      dataset: { focus: component.custom_id },
      onclick: () => !this.#list && this.#open(),
      onkeydown: (event) => this.#list && this.#onKey(event),
    }, this.face, icon("down"));
    this.element = h("div.select-field", {}, this.button);
    this.#showFace();
  }

  get values() {
    return [...this.#chosen];
  }

  focus() {
    this.button.focus();
  }

  get #many() {
    return this.#most > 1;
  }

  #showFace() {
    const picked = this.#offered.filter((item) => this.#chosen.has(item.value));
    fill(this.face, picked.length ? picked.map((item) => item.label).join(", ") : h("span.select-placeholder", {}, this.#placeholder));
  }

  #open() {
    this.#before = this.values;
    this.#list = new Listbox({ label: this.#placeholder, owner: this.button, multiple: this.#many, onPick: (item) => this.#pick(item) });
    const done = this.#many ? h("button.button.button-primary.select-done", { type: "button", onclick: () => this.#close() }, "Done") : null;
    this.#box = h("div.select-popup", {}, this.#list.element, done);
    topLayer(this.button).append(this.#box);
    this.#box.style.setProperty("min-width", `${this.button.offsetWidth}px`);
    this.#drawList(Math.max(0, this.#offered.findIndex((item) => this.#chosen.has(item.value))));
    place(this.#box, this.button);
    this.button.setAttribute("aria-expanded", "true");
    this.button.setAttribute("aria-controls", this.#list.id);
    document.addEventListener("pointerdown", this.#onOutside, true);
  }

  #drawList(active) {
    const full = this.#many && this.#chosen.size >= this.#most;
    this.#list.show(this.#offered.map((item) => {
      const selected = this.#chosen.has(item.value);
      return { ...item, selected, disabled: full && !selected, hint: selected ? "✓" : null };
    }), active);
  }

  #pick(item) {
    if (this.#many) {
      if (!this.#chosen.delete(item.value)) this.#chosen.add(item.value);
      this.#drawList(this.#offered.findIndex((other) => other.value === item.value));
      return;
    }
    this.#chosen = new Set([item.value]);
    this.#close();
  }

  /** Takes what is chosen. */
  #close() {
    this.#fold();
    this.button.focus({ preventScroll: true });
    const same = this.#many && this.#before.length === this.#chosen.size && this.#before.every((value) => this.#chosen.has(value));
    // Picking the same single value again is a choice too, as it is on Discord.
    if (this.#chosen.size >= this.#least && !same) this.#onCommit(this.values);
  }

  /** Goes back to what was chosen before. */
  #cancel() {
    this.#chosen = new Set(this.#before);
    this.#fold();
  }

  #fold() {
    this.#box.remove();
    this.#list = this.#box = null;
    document.removeEventListener("pointerdown", this.#onOutside, true);
    this.button.setAttribute("aria-expanded", "false");
    this.button.removeAttribute("aria-activedescendant");
    this.#showFace();
  }

  #onOutside = (event) => {
    if (this.#box.contains(event.target)) return;
    if (this.#many) this.#close();
    else this.#cancel();
    // The click that closes the list must not open it again.
    if (this.button.contains(event.target)) this.button.addEventListener("click", (click) => click.stopImmediatePropagation(), { once: true, capture: true });
  };

  #onKey(event) {
    if (this.#list.move(event.key)) event.preventDefault();
    else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.#list.pick();
    } else if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      if (this.#many) this.#close();
      else this.#cancel();
    } else if (event.key === "Tab") this.#cancel();
  }
}
