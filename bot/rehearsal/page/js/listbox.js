// A list to choose from, worked by the arrow keys of whatever has the focus: the composer's suggestions and the selects' options.

import { fill, freshId, h } from "./dom.js";

/**
 * items: [{label, description, hint, value, icon: Node, selected, disabled}]; groups have {heading} alone.
 * onPick(item, viaKey) is called for a click or pick().
 */
export class Listbox {
  #items = [];
  #options = []; // {item, element}, without headings
  #active = -1;
  #onPick;
  #owner; // the element that has the focus and says which option is active

  constructor({ label, onPick, owner = null, multiple = false }) {
    this.#onPick = onPick;
    this.#owner = owner;
    this.id = freshId("list");
    this.element = h("div.listbox", { id: this.id, role: "listbox", "aria-label": label, "aria-multiselectable": multiple ? "true" : null });
    // The focus stays where it is while the pointer picks.
    this.element.addEventListener("pointerdown", (event) => event.preventDefault());
  }

  get size() {
    return this.#options.length;
  }

  get active() {
    return this.#options[this.#active]?.item ?? null;
  }

  set owner(element) {
    this.#owner?.removeAttribute("aria-activedescendant");
    this.#owner = element;
  }

  show(items, active = -1) {
    this.#items = items;
    this.#options = [];
    fill(this.element, items.map((item) => (item.heading ? h("p.listbox-heading", { role: "presentation" }, item.heading) : this.#option(item))));
    this.activate(active);
  }

  #option(item) {
    const element = h("div.option", {
      id: freshId("option"),
      role: "option",
      "aria-selected": String(Boolean(item.selected)),
      "aria-disabled": item.disabled ? "true" : null,
      onclick: () => !item.disabled && this.#onPick(item, false),
    },
    item.icon ?? null,
    h("span.option-text", {}, h("span.option-label", {}, item.label), item.description ? h("small.option-description", {}, item.description) : null),
    item.hint ? h("span.option-hint", {}, item.hint) : null);
    this.#options.push({ item, element });
    return element;
  }

  activate(index) {
    this.#options[this.#active]?.element.classList.remove("option-active");
    this.#active = Math.max(-1, Math.min(index, this.#options.length - 1));
    const option = this.#options[this.#active];
    option?.element.classList.add("option-active");
    option?.element.scrollIntoView({ block: "nearest" });
    if (option) this.#owner?.setAttribute("aria-activedescendant", option.element.id);
    else this.#owner?.removeAttribute("aria-activedescendant");
  }

  /** Moves by arrow, Home or End; true when the key was one of them. */
  move(key) {
    if (!this.#options.length) return false;
    const count = this.#options.length;
    const targets = { ArrowDown: (this.#active + 1) % count, ArrowUp: this.#active <= 0 ? count - 1 : this.#active - 1, PageDown: Math.min(count - 1, this.#active + 6), PageUp: Math.max(0, this.#active - 6) };
    if (!(key in targets)) return false;
    this.activate(targets[key]);
    return true;
  }

  /** Picks the active option; true when there is one. */
  pick() {
    const item = this.active;
    if (!item || item.disabled) return false;
    this.#onPick(item, true);
    return true;
  }
}
