// The panel above the message field: what can be chosen now, what an option takes, what is wrong.

import { fill, h } from "./dom.js";
import { Listbox } from "./listbox.js";

export class Suggestions {
  #list;
  #onPick = () => {};
  #owner = null;

  constructor() {
    this.#list = new Listbox({ label: "Suggestions", onPick: (item) => this.#onPick(item) });
    this.head = h("div.suggest-head");
    this.element = h("div.suggest", { hidden: true }, this.head, this.#list.element);
  }

  /** owner: the field that has the focus. head: nodes above the list. active: the option that Enter takes, -1 for none. */
  show({ owner, head = null, items = [], active = -1, onPick = () => {} }) {
    this.#release();
    this.#owner = owner;
    this.#onPick = onPick;
    this.#list.owner = owner;
    fill(this.head, head);
    this.#list.element.hidden = !items.length;
    this.element.hidden = !items.length && !head;
    this.#list.show(items, active);
    owner.setAttribute("aria-expanded", String(items.length > 0));
    owner.setAttribute("aria-controls", this.#list.id);
  }

  hide() {
    this.#release();
    this.element.hidden = true;
    this.#list.show([]);
  }

  #release() {
    this.#owner?.setAttribute("aria-expanded", "false");
    this.#owner?.removeAttribute("aria-activedescendant");
    this.#owner = null;
  }

  /** Whether there is something to choose. */
  get open() {
    return !this.element.hidden && this.#list.size > 0;
  }

  get active() {
    return this.element.hidden ? null : this.#list.active;
  }

  move(key) {
    return this.open && this.#list.move(key);
  }

  pick() {
    return this.open && this.#list.pick();
  }
}
