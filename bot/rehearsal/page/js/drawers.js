// The side columns: both in place on a wide window; on a narrow one they slide in over the chat, and the rest of the page waits.

import { byId } from "./dom.js";
import { recall, remember } from "./memory.js";

const NARROW = matchMedia("(max-width: 720px)"); // the channel list becomes a drawer
const MEDIUM = matchMedia("(max-width: 1080px)"); // so does the member list

export class Drawers {
  #app = byId("app");
  #open = null; // "sidebar" | "members" | null
  #membersShown = recall("members", true); // on a wide window
  #opener = null;

  constructor() {
    byId("open-sidebar").addEventListener("click", () => this.#slide(this.#open === "sidebar" ? null : "sidebar"));
    byId("toggle-members").addEventListener("click", () => this.#toggleMembers());
    byId("scrim").addEventListener("click", () => this.close());
    addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#open && !document.querySelector(".menu-layer, dialog[open]")) this.close();
    });
    for (const query of [NARROW, MEDIUM]) query.addEventListener("change", () => this.#slide(null));
    this.#show();
  }

  close() {
    if (this.#open) this.#slide(null);
  }

  #toggleMembers() {
    if (MEDIUM.matches) {
      this.#slide(this.#open === "members" ? null : "members");
      return;
    }
    this.#membersShown = !this.#membersShown;
    remember("members", this.#membersShown);
    this.#show();
  }

  #slide(which) {
    if (which) this.#opener = document.activeElement;
    const before = this.#open;
    this.#open = which;
    this.#show();
    if (which) byId(which).querySelector("button, input")?.focus({ preventScroll: true });
    else if (before) this.#opener?.focus({ preventScroll: true });
  }

  #show() {
    const membersVisible = MEDIUM.matches ? this.#open === "members" : this.#membersShown;
    this.#app.dataset.open = this.#open ?? "";
    this.#app.classList.toggle("without-members", !MEDIUM.matches && !this.#membersShown);
    byId("scrim").hidden = !this.#open;
    byId("open-sidebar").setAttribute("aria-expanded", String(this.#open === "sidebar"));
    byId("toggle-members").setAttribute("aria-pressed", String(membersVisible));
    byId("sidebar").inert = NARROW.matches && this.#open !== "sidebar";
    byId("members").inert = !membersVisible;
    byId("main").inert = this.#open !== null;
  }
}
