// A slash command being filled in: the command's name, a pill for each option, and the way to the optional ones.
//
// Keys: Tab and Shift+Tab go through the options; arrows choose from the list; Enter takes the choice, or sends; Backspace in an empty
// optional pill leaves it out, in an empty first one goes back to the text; Escape closes the list, then the command.

import { avatar } from "./avatar.js";
import { OPTION, rule } from "./commands.js";
import { fill, h } from "./dom.js";
import { icon } from "./icons.js";
import { Pill } from "./pill.js";

const DEBOUNCE_MS = 180;

export class SlashForm {
  leaf = null; // the command, see commands.js
  #context;
  #panel;
  #host; // {send(), cancel(text)}
  #pills = [];
  #pillsBox = h("span.pills");
  #more;
  #name = h("span.slash-name");
  #asked = 0; // number of the newest autocomplete question
  #timer = null;

  constructor(context, panel, host) {
    this.#context = context;
    this.#panel = panel;
    this.#host = host;
    this.#more = h("input.more", {
      type: "text", role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", autocomplete: "off", "aria-label": "Add an option",
      onfocus: () => this.#showOptional(),
      oninput: () => this.#showOptional(),
      onkeydown: (event) => this.#onMoreKey(event),
    });
    this.element = h("div.slash", { role: "group", hidden: true }, this.#name, this.#pillsBox, this.#more);
  }

  get active() {
    return this.leaf !== null;
  }

  /** Starts a command. values: {name: text}. */
  open(leaf, values = {}) {
    this.leaf = leaf;
    this.element.hidden = false;
    this.element.setAttribute("aria-label", `The command ${leaf.label}`);
    fill(this.#name, leaf.label);
    this.#pills = [];
    this.#pillsBox.replaceChildren();
    for (const option of leaf.options) if (option.required || option.name in values) this.#add(option);
    for (const pill of this.#pills) {
      if (pill.option.name in values) this.#giveText(pill, values[pill.option.name]);
    }
    this.#showMore();
    this.#focusNext();
  }

  close() {
    this.leaf = null;
    this.#pills = [];
    this.#pillsBox.replaceChildren();
    this.element.hidden = true;
    clearTimeout(this.#timer);
    this.#asked += 1;
    this.#panel.hide();
  }

  /** Checks all options: {name: value}, or null after it has shown what is wrong. */
  read() {
    const options = {};
    for (const pill of this.#pills) {
      const { value, error, empty } = pill.read();
      const problem = error ?? (empty && pill.option.required ? `${pill.option.name} is needed: ${rule(pill.option)}.` : "");
      pill.showError(problem);
      if (problem) {
        pill.focus();
        this.#show(pill, { error: problem });
        return null;
      }
      if (!empty) options[pill.option.name] = value;
    }
    return options;
  }

  /** Gives a dropped, pasted or chosen file to the first option that waits for one; false when none does. */
  takeFile(file) {
    const waiting = this.#pills.find((pill) => pill.isFile && !pill.file) ?? this.#pills.findLast((pill) => pill.isFile);
    const unused = this.#optional().find((option) => option.type === OPTION.ATTACHMENT);
    const pill = waiting && (!waiting.file || !unused) ? waiting : unused ? this.#add(unused) : null;
    if (!pill) return false;
    pill.setFile(file);
    this.#showMore();
    this.#focusNext();
    return true;
  }

  /** The focus goes where something is still to be filled in. */
  #focusNext() {
    const next = this.#pills.find((pill) => pill.option.required && pill.empty) ?? this.#pills.at(-1);
    if (next) next.focus();
    else this.#more.focus();
  }

  focus() {
    this.#focusNext();
  }

  #giveText(pill, text) {
    const choice = pill.option.choices?.find(({ name, value }) => name === text || String(value) === text);
    pill.set(choice ? choice.name : text, choice ?? null);
  }

  // ---- optional options ----

  #optional() {
    const used = new Set(this.#pills.map((pill) => pill.option.name));
    return (this.leaf?.options ?? []).filter((option) => !used.has(option.name));
  }

  #add(option) {
    const pill = new Pill(option, {
      focused: (it) => this.#show(it),
      changed: (it) => {
        it.showError("");
        this.#show(it, { typed: true });
      },
      key: (event, it) => this.#onKey(event, it),
      removed: (it) => this.#remove(it),
    });
    this.#pills.push(pill);
    this.#pillsBox.append(pill.element);
    return pill;
  }

  #remove(pill) {
    const at = this.#pills.indexOf(pill);
    this.#pills.splice(at, 1);
    pill.element.remove();
    this.#showMore();
    (this.#pills[Math.max(0, at - 1)] ?? this.#more).focus();
  }

  #showMore() {
    const count = this.#optional().length;
    this.#more.value = "";
    this.#more.placeholder = this.leaf.options.length === 0 ? "no options: press Enter" : count ? `+${count} optional` : "";
    this.#more.classList.toggle("more-none", count === 0 && this.leaf.options.length > 0);
  }

  #showOptional() {
    const typed = this.#more.value.trim().toLowerCase();
    const fitting = this.#optional().filter((option) => option.name.startsWith(typed));
    this.#panel.show({
      owner: this.#more,
      head: this.#head(null),
      items: fitting.length ? [{ heading: "Optional" }, ...fitting.map((option) => ({ label: option.name, description: option.description, hint: rule(option), option }))] : [],
      active: typed && fitting.length ? 0 : -1,
      onPick: ({ option }) => {
        const pill = this.#add(option);
        this.#showMore();
        pill.focus();
      },
    });
  }

  // ---- the panel ----

  #head(pill, error = "") {
    const { state } = this.#context;
    if (!pill) return h("p.suggest-about", {}, state.bot ? avatar(state.bot, "tiny") : null, h("strong", {}, this.leaf.label), h("span", {}, this.leaf.description));
    const { option } = pill;
    return [
      h("p.suggest-about", {}, h("strong", {}, option.name), h("span", {}, option.description), h("span.suggest-rule", {}, `${option.required ? "" : "Optional, "}${rule(option)}`)),
      error ? h("p.suggest-error", { role: "alert" }, icon("warning"), error) : null,
    ];
  }

  #show(pill, { typed = false, error = "" } = {}) {
    const items = this.#choices(pill, typed);
    const show = (list, active) => this.#panel.show({ owner: pill.field, head: this.#head(pill, error), items: list, active, onPick: (item) => this.#take(pill, item) });
    show(items, typed && items.length && pill.text ? 0 : -1);
    clearTimeout(this.#timer);
    const question = ++this.#asked;
    if (pill.option.autocomplete && !error) this.#timer = setTimeout(() => this.#ask(pill, question, show), typed ? DEBOUNCE_MS : 0);
  }

  async #ask(pill, question, show) {
    const options = {};
    for (const other of this.#pills) {
      const { value } = other.read();
      if (value !== undefined && !other.isFile) options[other.option.name] = value;
    }
    options[pill.option.name] = pill.picked ? pill.picked.name : pill.text;
    const choices = await this.#context.actions.autocomplete({ command: this.leaf.command, path: this.leaf.path, options, focused: pill.option.name });
    if (question !== this.#asked || !this.active || document.activeElement !== pill.field) return;
    show(choices.map((choice) => ({ label: choice.name, value: choice.value, name: choice.name })), -1);
  }

  #choices(pill, typed) {
    const { option } = pill;
    const { state } = this.#context;
    const query = typed || !pill.picked ? pill.text.trim().toLowerCase().replace(/^[@#]/, "") : "";
    const offered = (() => {
      if (option.choices?.length) return option.choices.map(({ name, value }) => ({ label: name, name, value }));
      if (option.type === OPTION.BOOLEAN) return [true, false].map((value) => ({ label: value ? "True" : "False", name: value ? "True" : "False", value }));
      if (option.type === OPTION.USER || option.type === OPTION.MENTIONABLE) return [...state.members.values()].map((member) => ({ label: member.display_name, name: member.display_name, description: member.username, value: member.id, icon: avatar(member, "small") }));
      if (option.type === OPTION.ROLE) return [...state.roles.values()].map((role) => ({ label: `@${role.name}`, name: `@${role.name}`, value: role.id }));
      if (option.type === OPTION.CHANNEL) return state.textChannels().map((channel) => ({ label: `#${channel.name}`, name: `#${channel.name}`, value: channel.id }));
      return [];
    })();
    return offered.filter(({ label, description }) => label.toLowerCase().includes(query) || (description ?? "").toLowerCase().includes(query));
  }

  #take(pill, item) {
    pill.set(item.name, { name: item.name, value: item.value });
    pill.showError("");
    this.#step(pill, 1);
  }

  // ---- keys ----

  /** Goes to the option beside a pill; past the last one to the optional ones. False when there is nowhere to go. */
  #step(pill, by) {
    const fields = [...this.#pills, ...(this.#optional().length ? [this.#more] : [])];
    const next = fields[fields.indexOf(pill) + by];
    if (next) next.focus();
    else this.#show(pill);
    return Boolean(next);
  }

  #onKey(event, pill) {
    const { field } = pill;
    const atStart = pill.isFile || (field.selectionStart === 0 && field.selectionEnd === 0);
    const atEnd = pill.isFile || field.selectionStart === field.value.length;
    if (this.#panel.move(event.key)) event.preventDefault();
    else if (event.key === "Enter" && !event.isComposing) {
      if (pill.isFile && !pill.file) return; // the button opens the file picker
      event.preventDefault();
      if (!this.#panel.pick()) this.#host.send();
    } else if (event.key === "Tab") {
      const took = !event.shiftKey && this.#panel.active && this.#panel.pick();
      if (took || this.#step(pill, event.shiftKey ? -1 : 1)) event.preventDefault();
    } else if (event.key === "Escape") this.#escape(event);
    else if (event.key === "Backspace" && atStart) this.#backspace(event, pill);
    else if (event.key === "Delete" && pill.isFile) pill.setFile(null);
    else if (event.key === "ArrowLeft" && atStart && this.#pills.indexOf(pill) > 0) this.#leap(event, pill, -1);
    else if (event.key === "ArrowRight" && atEnd) this.#leap(event, pill, 1);
  }

  #leap(event, pill, by) {
    if (this.#step(pill, by)) event.preventDefault();
  }

  #backspace(event, pill) {
    event.preventDefault();
    if (pill.isFile && pill.file) pill.setFile(null);
    else if (pill.text) return;
    else if (!pill.option.required) this.#remove(pill);
    else if (this.#pills.indexOf(pill) > 0) this.#step(pill, -1);
    else this.#host.cancel(this.leaf.label);
  }

  #onMoreKey(event) {
    if (this.#panel.move(event.key)) event.preventDefault();
    else if (event.key === "Enter" && !event.isComposing) {
      event.preventDefault();
      if (!this.#panel.pick()) this.#host.send();
    } else if (event.key === "Tab" && this.#panel.active) {
      event.preventDefault();
      this.#panel.pick();
    } else if (event.key === "Escape") this.#escape(event);
    else if ((event.key === "Backspace" || event.key === "ArrowLeft") && !this.#more.value) {
      event.preventDefault();
      if (this.#pills.length) this.#pills.at(-1).focus();
      else if (event.key === "Backspace") this.#host.cancel(this.leaf.label);
    }
  }

  #escape(event) {
    event.preventDefault();
    event.stopPropagation();
    if (this.#panel.open) this.#panel.hide();
    else this.#host.cancel("");
  }
}
