// The log of a channel: its messages in order, with day lines, the line of what is new, commands on their way, and a scroll position that
// stays where the reader is. How one message looks is message.js's business.

import { avatar, coloredName } from "./avatar.js";
import { byId, fill, h } from "./dom.js";
import { icon } from "./icons.js";
import { MessageView, continues } from "./message.js";
import { compareIds } from "./snowflake.js";
import { dayName, sameDay } from "./time.js";
import { drawWelcome } from "./welcome.js";

const AT_END_PX = 90; // this near to the end counts as reading along
const LOAD_OLDER_PX = 300;

export class Log {
  #context;
  #views = new Map(); // message id -> MessageView
  #channelId = null;
  #following = true; // the reader is at the end and new messages scroll in
  #newFrom = null; // the first message that was unread when the reader came
  #below = 0; // messages that came while the reader was further up
  #top = 0; // where the log was scrolled to …
  #height = 0; // … and how much of it was seen
  #reachable = null; // id of the message that Tab leads to

  constructor(context) {
    this.#context = context;
    this.scroller = byId("scroller");
    this.list = byId("log");
    this.pending = byId("pending");
    this.toPresent = byId("to-present");
    this.toPresent.addEventListener("click", () => this.toEnd());
    this.scroller.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    new ResizeObserver(() => this.#following && this.#jumpToEnd()).observe(byId("scroller-inner"));
    new ResizeObserver(() => this.#following && this.#jumpToEnd()).observe(this.scroller);
    this.list.addEventListener("keydown", (event) => this.#onKey(event));
    this.list.addEventListener("focusin", (event) => this.#makeReachable(event.target.closest(".message")?.dataset.id));
    context.actions.jumpTo = (messageId) => this.jumpTo(messageId);

    const { state, interactions } = context;
    state.addEventListener("timeline", ({ detail }) => detail.channelId === state.channelId && this.showChannel());
    state.addEventListener("older", ({ detail }) => detail.channelId === state.channelId && this.#prepend(detail.messages));
    state.addEventListener("message", ({ detail }) => detail.channelId === state.channelId && this.#change(detail));
    interactions.addEventListener("change", ({ detail: { entry } }) => {
      this.#views.get(entry.messageId)?.update();
      this.#drawPending();
      if (!entry.messageId && entry.channelId === state.channelId && entry.state === "sent") this.toEnd();
    });
  }

  /** Whether the reader sees the newest message. */
  get following() {
    return this.#following;
  }

  /** Draws the channel that is looked at, from its beginning. */
  showChannel() {
    const { state, jukebox } = this.#context;
    const timeline = state.timeline(state.channelId);
    const place = this.#channelId === state.channelId && !this.#following ? this.#place() : null;
    if (this.#channelId !== state.channelId) this.#newFrom = state.unread.get(state.channelId)?.firstId ?? null;
    this.#channelId = state.channelId;
    this.#views.clear();
    this.#reachable = null;
    this.list.setAttribute("aria-label", `Messages in #${state.channel?.name ?? ""}`);
    this.list.setAttribute("aria-busy", String(!timeline));
    fill(this.list, timeline ? null : h("p.loading", {}, h("span.dots", { "aria-hidden": "true" }, h("i"), h("i"), h("i")), "Loading…"));
    for (const message of timeline?.messages ?? []) this.list.append(this.#view(message).element);
    this.#arrange();
    this.#drawPending();
    drawWelcome(byId("welcome"), this.#context, timeline?.complete ?? false);
    jukebox.sweep();
    if (!place || !this.#returnTo(place)) this.toEnd();
  }

  // The message at the upper edge and how far it is from it: where a reader is, whatever comes and goes above.
  #place() {
    const edge = this.scroller.getBoundingClientRect().top;
    const first = [...this.list.querySelectorAll(".message")].find((element) => element.getBoundingClientRect().bottom > edge);
    return first ? { id: first.dataset.id, top: first.getBoundingClientRect().top } : null;
  }

  #returnTo({ id, top }) {
    const element = this.#views.get(id)?.element;
    if (element) this.scroller.scrollTop += element.getBoundingClientRect().top - top;
    return Boolean(element);
  }

  #view(message) {
    const view = new MessageView(message, this.#context);
    this.#views.set(message.id, view);
    return view;
  }

  #change({ kind, message }) {
    if (kind === "create") {
      this.#insert(this.#view(message));
      const own = message.author.id === this.#context.state.me?.id;
      if (own) this.toEnd();
      else if (!this.#following) this.#countBelow(1);
    } else if (kind === "update") {
      this.#views.get(message.id)?.update(message);
    } else {
      this.#views.get(message.id)?.element.remove();
      this.#views.delete(message.id);
      this.#context.jukebox.sweep();
    }
    if (kind !== "update") this.#arrange();
  }

  // Pushes come in order, but for a message that was created before one that is already here.
  #insert(view) {
    const after = [...this.list.querySelectorAll(".message")].findLast((element) => compareIds(element.dataset.id, view.message.id) < 0);
    if (after) after.after(view.element);
    else this.list.prepend(view.element);
  }

  #prepend(messages) {
    const before = this.scroller.scrollHeight - this.scroller.scrollTop;
    this.list.prepend(...messages.map((message) => this.#view(message).element));
    this.#arrange();
    const { state } = this.#context;
    drawWelcome(byId("welcome"), this.#context, state.timeline(state.channelId).complete);
    this.scroller.scrollTop = this.scroller.scrollHeight - before;
  }

  // Day lines, the line of what is new, and which messages continue the one before them.
  #arrange() {
    for (const line of this.list.querySelectorAll(".line")) line.remove();
    let previous = null;
    for (const element of [...this.list.querySelectorAll(".message")]) {
      const view = this.#views.get(element.dataset.id);
      const at = new Date(view.message.timestamp);
      const newDay = !previous || !sameDay(at, new Date(previous.timestamp));
      const isNew = view.message.id === this.#newFrom;
      if (newDay) element.before(h("div.line", {}, h("span", {}, dayName(at))));
      if (isNew) element.before(h("div.line.line-new", {}, h("span", {}, "New")));
      view.continued = !newDay && !isNew && continues(view.message, previous);
      previous = view.message;
    }
    if (!this.#views.has(this.#reachable)) this.#makeReachable(previous?.id);
  }

  #drawPending() {
    const { state, interactions } = this.#context;
    const entries = interactions.ofChannel(state.channelId);
    const sender = state.me ? [avatar(state.me, "tiny"), coloredName(state.me)] : [];
    fill(this.pending, entries.map((entry) => h("li.pending-entry", { class: entry.state === "failed" ? "pending-failed" : "", role: entry.state === "failed" ? "alert" : null },
      h("p.lead", {}, sender, h("span", {}, " used "), h("span.lead-command", {}, entry.label)),
      entry.state === "failed"
        ? h("p.failed", {}, icon("warning"), entry.error || "The bot did not answer in time. Is it running? Try it again.", " ", h("button.text-button", { type: "button", onclick: () => interactions.finish(entry.nonce) }, "Dismiss"))
        : h("p.thinking", {}, h("span.dots", { "aria-hidden": "true" }, h("i"), h("i"), h("i")), "Sending the command…"),
    )));
  }

  // ---- scrolling ----

  toEnd() {
    this.#following = true;
    this.#countBelow(-this.#below);
    this.#jumpToEnd();
  }

  jumpTo(messageId) {
    const element = this.#views.get(messageId)?.element;
    if (!element) return false;
    this.#following = false;
    element.scrollIntoView({ block: "center" });
    element.classList.add("message-shown");
    setTimeout(() => element.classList.remove("message-shown"), 1600);
    element.focus({ preventScroll: true });
    return true;
  }

  #jumpToEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  #onScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    // Only going up is leaving the end: content that grows makes the end go away too, and is followed. Nor is it the reader who goes up
    // when the composer gives room back (a command was sent) and the browser moves the log down with it.
    if (scrollHeight - scrollTop - clientHeight < AT_END_PX) this.#following = true;
    else if (scrollTop < this.#top && clientHeight === this.#height) this.#following = false;
    this.#top = scrollTop;
    this.#height = clientHeight;
    if (this.#following) {
      this.#countBelow(-this.#below);
      this.#context.onRead?.();
    }
    this.toPresent.hidden = this.#following;
    if (scrollTop < LOAD_OLDER_PX) this.#context.actions.loadOlder(this.#channelId);
  }

  #countBelow(change) {
    this.#below += change;
    fill(this.toPresent, this.#below ? `${this.#below} new ${this.#below === 1 ? "message" : "messages"}` : "To the newest", icon("down"));
    this.toPresent.hidden = this.#following;
  }

  /** The reader looked elsewhere when this message came: a line says from where on it is new. */
  markNewFrom(messageId) {
    this.#newFrom = messageId;
    this.#arrange();
  }

  #makeReachable(messageId) {
    if (!messageId || messageId === this.#reachable) return;
    const before = this.#views.get(this.#reachable);
    if (before) before.reachable = false;
    this.#reachable = messageId;
    this.#views.get(messageId).reachable = true;
  }

  // Arrows go from message to message, the menu key opens the menu of the one that has the focus.
  #onKey(event) {
    const message = event.target.closest(".message");
    if (event.target !== message || !message) return;
    const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
    if (!step) return;
    event.preventDefault();
    let other = message[step];
    while (other && !other.classList.contains("message")) other = other[step];
    other?.focus();
  }
}
