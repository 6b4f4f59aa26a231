// Short notices at the foot of the page. Errors stay longer and can be put away.

import { fill, h } from "./dom.js";
import { icon } from "./icons.js";

const SAY_MS = 2_500;
const ERROR_MS = 8_000;

export class Toasts {
  #holder;

  constructor(holder) {
    this.#holder = holder;
  }

  say(text) {
    this.#show(h("div.toast", {}, icon("check"), h("span", {}, text)), SAY_MS);
  }

  error(text) {
    const toast = h("div.toast.toast-error", { role: "alert" }, icon("warning"), h("span", {}, text));
    toast.append(h("button.icon-button", { type: "button", "aria-label": "Put away", onclick: () => this.#drop(toast) }, icon("close")));
    this.#show(toast, ERROR_MS);
  }

  clear() {
    fill(this.#holder);
  }

  #show(toast, forMs) {
    for (const other of this.#holder.children) if (other.textContent === toast.textContent) other.remove();
    this.#holder.append(toast);
    // Shown anew each time, so that it lies above a dialog that opened since.
    if (this.#holder.matches(":popover-open")) this.#holder.hidePopover();
    this.#holder.showPopover();
    setTimeout(() => this.#drop(toast), forMs);
  }

  #drop(toast) {
    toast.remove();
    if (!this.#holder.children.length && this.#holder.matches(":popover-open")) this.#holder.hidePopover();
  }
}
