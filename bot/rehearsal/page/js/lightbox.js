// Pictures: in a message at a size that suits it, and large on a click.

import { h } from "./dom.js";
import { icon } from "./icons.js";

/** A picture as a button that opens it large. Known width and height keep the log from jumping when it loads. */
export function picture({ url, alt, width, height }, { lightbox }) {
  const image = h("img", { src: url, alt: "", loading: "lazy", width: width ?? null, height: height ?? null, draggable: "false" });
  const button = h("button.picture", { type: "button", "aria-label": `Enlarge the picture: ${alt}`, dataset: { focus: `picture-${url}`, url, alt }, onclick: () => lightbox.open(button) }, image);
  if (width && height) button.style.setProperty("--ratio", `${width} / ${height}`);
  image.addEventListener("error", () => {
    button.replaceWith(h("p.broken", {}, icon("picture"), `The picture “${alt}” could not be loaded.`));
  });
  return button;
}

export class Lightbox {
  #dialog;
  #image;
  #caption;
  #links;
  #buttons = []; // the pictures of the message, in order
  #at = 0;

  constructor() {
    this.#image = h("img.lightbox-image", { alt: "" });
    this.#caption = h("p.lightbox-caption");
    this.#links = h("a.ghost-button", { target: "_blank", rel: "noopener noreferrer" }, icon("link"), "Open alone");
    this.#dialog = h("dialog.lightbox", { "aria-label": "Picture" },
      h("div.lightbox-bar", {}, this.#caption, this.#links, h("button.icon-button", { type: "button", "aria-label": "Close", onclick: () => this.#dialog.close() }, icon("close"))),
      h("div.lightbox-stage", { onclick: (event) => event.target === event.currentTarget && this.#dialog.close() }, this.#image),
    );
    this.#dialog.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) this.#show(this.#at + step);
    });
    this.#dialog.addEventListener("close", () => {
      this.#dialog.remove();
      this.#buttons[this.#at]?.focus({ preventScroll: true });
    });
  }

  open(button) {
    this.#buttons = [...(button.closest(".message")?.querySelectorAll(".picture") ?? [button])];
    document.body.append(this.#dialog);
    this.#show(this.#buttons.indexOf(button));
    this.#dialog.showModal();
  }

  #show(at) {
    this.#at = (at + this.#buttons.length) % this.#buttons.length;
    const { url, alt } = this.#buttons[this.#at].dataset;
    this.#image.src = url;
    this.#image.alt = alt;
    this.#caption.textContent = alt;
    this.#links.hidden = !/^(https?:\/\/|\/)/.test(url);
    if (!this.#links.hidden) this.#links.href = url;
  }
}
