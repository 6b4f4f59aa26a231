// The message field: plain messages with files, and the door to slash commands (slash.js fills those in).

import { avatar } from "./avatar.js";
import { flatten, readLine, search } from "./commands.js";
import { fill, h } from "./dom.js";
import { icon } from "./icons.js";
import { RequestError } from "./socket.js";
import { SlashForm } from "./slash.js";
import { Suggestions } from "./suggestions.js";
import { checkSizes, fileSize } from "./uploads.js";

const TOUCH = matchMedia("(pointer: coarse)");
const MAX_FILES = 10; // Discord's limit a message

export class Composer {
  #context;
  #panel = new Suggestions();
  #slash;
  #files = []; // waiting to be sent with the message
  #drafts = new Map(); // channel id -> text
  #channelId = null;
  #sending = false;

  constructor(form, context) {
    this.#context = context;
    this.form = form;
    this.#slash = new SlashForm(context, this.#panel, { send: () => this.#send(), cancel: (text) => this.#backToText(text) });
    this.text = h("textarea.composer-text", {
      id: "composer-text", rows: "1", "aria-label": "Message", role: "combobox", "aria-autocomplete": "list", "aria-haspopup": "listbox", "aria-expanded": "false", maxlength: "4000",
      oninput: () => this.#onInput(), onkeydown: (event) => this.#onKey(event), onblur: () => this.#panel.hide(), onfocus: () => this.#suggest(),
    });
    this.fileInput = h("input", { type: "file", multiple: true, hidden: true, tabindex: "-1", "aria-hidden": "true", onchange: () => {
      this.addFiles([...this.fileInput.files]);
      this.fileInput.value = "";
    } });
    this.tray = h("ul.tray", { "aria-label": "Files to send", hidden: true });
    this.sendButton = h("button.composer-send", { type: "submit", "aria-label": "Send" }, icon("send"));
    this.cancelButton = h("button.icon-button", { type: "button", "aria-label": "Leave the command", hidden: true, onclick: () => this.#backToText("") }, icon("close"));
    fill(form,
      this.#panel.element,
      h("div.composer-box", {},
        this.tray,
        h("div.composer-row", {},
          h("button.icon-button.composer-add", { type: "button", "aria-label": "Attach files", onclick: () => this.fileInput.click() }, icon("plus")),
          this.text, this.#slash.element, this.cancelButton, this.sendButton, this.fileInput),
      ),
      h("p.composer-hint", { "aria-hidden": "true" }, h("kbd", {}, "/"), " commands", h("span", {}, " · "), h("kbd", {}, "Enter"), " send", h("span", {}, " · "), "drop a track anywhere · right-click a message for apps"),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    form.addEventListener("focusout", (event) => {
      if (!form.contains(event.relatedTarget)) this.#panel.hide();
    });
    form.addEventListener("paste", (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length) {
        event.preventDefault();
        this.addFiles(files);
      }
    });
    context.actions.prefill = (text) => this.prefill(text);
  }

  /** Shows the field for a channel, with what was begun there. */
  showChannel(channel) {
    if (this.#channelId !== channel?.id) {
      this.#drafts.set(this.#channelId, this.text.value);
      this.#channelId = channel?.id ?? null;
      this.#backToText(this.#drafts.get(this.#channelId) ?? "", { focus: false });
    }
    this.text.placeholder = channel ? `Message #${channel.name} or type /` : "";
  }

  /** Puts a line into the field; a line that names a command opens it, filled in. */
  prefill(line) {
    const known = readLine(line.trim(), this.#leaves());
    if (known) {
      this.#openCommand(known.leaf, known.values);
      return;
    }
    this.#backToText(line.trimEnd());
    if (line.startsWith("/")) this.#context.toasts.error(`The bot has no command ${line.trim().split(/\s/)[0]} at the moment.`);
  }

  /** Files from the picker, a drop or the clipboard: to the command's option when one waits, else onto the message. */
  addFiles(files) {
    try {
      checkSizes(files, this.#context.state.uploadLimit);
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      this.#context.toasts.error(error.message);
      return;
    }
    if (this.#slash.active) {
      const left = files.filter((file) => !this.#slash.takeFile(file));
      if (left.length) this.#context.toasts.error(`${this.#slash.leaf.label} takes no further file.`);
      return;
    }
    if (this.#files.length + files.length > MAX_FILES) this.#context.toasts.error(`A message carries at most ${MAX_FILES} files.`);
    this.#files = [...this.#files, ...files].slice(0, MAX_FILES);
    this.#showTray();
    this.text.focus();
  }

  #leaves() {
    return flatten(this.#context.state.commands);
  }

  #openCommand(leaf, values) {
    this.#panel.hide();
    this.text.hidden = true;
    this.cancelButton.hidden = false;
    this.form.classList.add("composer-commanding");
    this.#slash.open(leaf, values);
    // A file that was attached first becomes the command's.
    this.#files = this.#files.filter((file) => !this.#slash.takeFile(file));
    this.#showTray();
  }

  #backToText(text, { focus = true } = {}) {
    this.#slash.close();
    this.text.hidden = false;
    this.cancelButton.hidden = true;
    this.form.classList.remove("composer-commanding");
    this.text.value = text;
    this.#fit();
    if (focus) {
      this.text.focus();
      this.#suggest();
    }
  }

  // ---- typing ----

  #onInput() {
    this.#fit();
    // "/generate " is a decision: what follows are options.
    const known = this.text.value.startsWith("/") && /\s/.test(this.text.value) ? readLine(this.text.value, this.#leaves()) : null;
    if (known && (known.leaf.label.length < this.text.value.trimEnd().length || /\s$/.test(this.text.value))) {
      this.text.value = "";
      this.#openCommand(known.leaf, known.values);
      return;
    }
    this.#suggest();
  }

  #suggest() {
    const { state } = this.#context;
    const typed = this.text.value;
    if (!typed.startsWith("/") || typed.includes("\n")) {
      this.#panel.hide();
      return;
    }
    const leaves = search(this.#leaves(), typed);
    const items = leaves.map((leaf) => ({
      label: leaf.label,
      description: leaf.description,
      hint: leaf.options.filter((option) => option.required).map((option) => option.name).join(" "),
      icon: state.bot ? avatar(state.bot, "small") : icon("spark"),
      leaf,
    }));
    const none = state.commands.length ? `The bot has no command like ${typed}` : "The bot has no commands yet: it may still be starting";
    this.#panel.show({
      owner: this.text,
      head: leaves.length ? h("p.suggest-about", {}, h("strong", {}, "Commands"), h("span", {}, state.bot?.display_name ?? "")) : h("p.suggest-about", {}, none),
      items,
      active: items.length ? 0 : -1,
      onPick: ({ leaf }) => {
        this.text.value = "";
        this.#openCommand(leaf, {});
      },
    });
  }

  #onKey(event) {
    if (event.isComposing) return;
    if (this.#panel.move(event.key)) event.preventDefault();
    else if ((event.key === "Enter" && !event.shiftKey) || event.key === "Tab") {
      if (this.#panel.pick()) event.preventDefault();
      else if (event.key === "Enter" && !TOUCH.matches) {
        event.preventDefault();
        this.#send();
      }
    } else if (event.key === "Escape" && this.#panel.open) {
      event.preventDefault();
      event.stopPropagation();
      this.#panel.hide();
    }
  }

  #fit() {
    this.text.style.setProperty("height", "auto");
    this.text.style.setProperty("height", `${this.text.scrollHeight}px`);
  }

  // ---- files ----

  #showTray() {
    this.tray.hidden = !this.#files.length;
    fill(this.tray, this.#files.map((file, index) => h("li.tray-file", {}, icon("file"), h("span.tray-name", {}, file.name), h("small", {}, fileSize(file.size)),
      h("button.icon-button", { type: "button", "aria-label": `Leave out ${file.name}`, onclick: () => {
        this.#files.splice(index, 1);
        this.#showTray();
        this.text.focus();
      } }, icon("close")))));
  }

  // ---- sending ----

  async #send() {
    if (this.#sending) return;
    this.#sending = true;
    this.form.classList.add("composer-busy");
    try {
      if (this.#slash.active) await this.#sendCommand();
      else await this.#sendMessage();
    } finally {
      this.#sending = false;
      this.form.classList.remove("composer-busy");
    }
  }

  async #sendCommand() {
    const { leaf } = this.#slash;
    const options = this.#slash.read();
    if (!options) return;
    this.#panel.hide();
    if (await this.#context.actions.slash({ command: leaf.command, path: leaf.path, options })) this.#backToText("");
  }

  async #sendMessage() {
    const content = this.text.value.trim();
    if (!content && !this.#files.length) return;
    // A mistyped command is not said aloud.
    if (/^\/[a-z][\w-]*(\s|$)/i.test(content) && !this.#files.length) {
      this.prefill(content);
      return;
    }
    const [files, channelId] = [this.#files, this.#channelId];
    this.#files = [];
    this.#showTray();
    this.#backToText("");
    if (await this.#context.actions.send(channelId, content, files)) return;
    // Refused: it comes back, unless something else has been begun meanwhile.
    if (this.#channelId !== channelId || this.text.value || this.#slash.active) return;
    this.#files = [...files, ...this.#files];
    this.#showTray();
    this.#backToText(content);
  }
}
