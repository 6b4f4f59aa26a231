// One message of the log. It is drawn in parts, and an edit redraws only the parts whose data changed: a progress bar that moves
// leaves the player beside it playing, the picture unloaded never, and the focus where it was.

import { attachments } from "./attachments.js";
import { appBadge, avatar, coloredName } from "./avatar.js";
import { components } from "./components.js";
import { fill, h } from "./dom.js";
import { embeds, embeddedUrls } from "./embeds.js";
import { icon } from "./icons.js";
import { memberMenu, messageMenu } from "./menus.js";
import { inlineProse, prose } from "./prose.js";
import { pickReaction, reactionRow } from "./reactions.js";
import { FLAG, isEphemeral, isLoading } from "./state.js";
import { clock, fullTime, messageTime } from "./time.js";

const GROUP_WITHIN_MS = 7 * 60_000;

/** Whether a message continues the one before it, so that it needs no name of its own. */
export function continues(message, previous) {
  if (!previous || message.author.id !== previous.author.id || isEphemeral(message) !== isEphemeral(previous)) return false;
  if (message.message_reference || usedCommand(message) || isSystem(message)) return false;
  return new Date(message.timestamp) - new Date(previous.timestamp) < GROUP_WITHIN_MS && !isSystem(previous);
}

/** What a message answers: {user, text} of "Alice used /generate", or null. */
export function usedCommand(message) {
  const metadata = message.interaction_metadata;
  const origin = metadata?.triggering_interaction_metadata ?? metadata;
  const name = origin?.name ?? message.interaction?.name;
  if (!origin || origin.type !== 2 || !name) return null;
  // The name of a slash command comes bare, or with its sub-command; those of the Apps menu have types of their own.
  const slash = (origin.command_type ?? (message.type === 23 ? 3 : 1)) === 1;
  return { user: origin.user ?? message.interaction?.user, text: slash ? `/${name}` : name };
}

const SYSTEM_TEXTS = {
  6: "pinned a message to this channel.",
  7: "joined.",
  18: "started a thread",
};
const SYSTEM_ICONS = { 6: "spark", 7: "people", 18: "thread" };
const isSystem = (message) => message.type in SYSTEM_TEXTS;

export class MessageView {
  #context;
  #message;
  #parts;
  #media = new Map(); // attachment id -> element, kept over edits

  constructor(message, context) {
    this.#context = context;
    this.#message = message;
    this.#parts = this.#layout();
    const slots = Object.fromEntries(this.#parts.map((part) => [part.name, part.slot]));
    const body = h("div.message-body", {}, slots.header, slots.content, slots.attachments, slots.embeds, slots.components, slots.reactions, slots.footer);
    this.element = h("article.message", {
      id: `message-${message.id}`,
      dataset: { id: message.id },
      tabindex: "-1",
      oncontextmenu: (event) => this.#onContextMenu(event),
    }, slots.lead, slots.gutter, body, this.#toolbar());
    this.update(message);
  }

  get message() {
    return this.#message;
  }

  /** Redraws what changed. */
  update(message = this.#message) {
    this.#message = message;
    this.element.classList.toggle("message-ephemeral", isEphemeral(message));
    this.element.classList.toggle("message-system", isSystem(message));
    this.element.classList.toggle("message-mentions-me", (message.mentions ?? []).some((user) => user.id === this.#context.state.me?.id));
    for (const part of this.#parts) {
      const key = JSON.stringify(part.data(message));
      if (key === part.key) continue;
      part.key = key;
      keepingFocus(part.slot, () => fill(part.slot, part.draw(message)));
    }
  }

  /** One message at a time is reached by Tab, and its tools after it; arrows lead from one to the next (log.js). */
  set reachable(on) {
    for (const element of [this.element, ...this.element.querySelectorAll(".message-tools button")]) element.tabIndex = on ? 0 : -1;
  }

  /** Continued messages show no name and no face. */
  set continued(on) {
    this.element.classList.toggle("message-continued", on);
  }

  // Each part: the data it depends on, and how it is drawn.
  #layout() {
    const context = this.#context;
    const { state, interactions } = context;
    const part = (name, data, draw, tag = "div") => ({ name, data, draw, slot: h(`${tag}.part-${name}`), key: null });
    return [
      part("lead", (m) => [usedCommand(m), m.referenced_message, m.message_reference], (m) => this.#lead(m)),
      part("gutter", (m) => [m.author, m.timestamp, m.type], (m) => this.#gutter(m)),
      part("header", (m) => [m.author, m.timestamp], (m) => this.#header(m)),
      part("content", (m) => [m.content, isLoading(m), m.interaction_failed, m.type, m.edited_timestamp], (m) => this.#content(m)),
      part("embeds", (m) => m.embeds, (m) => embeds(m, context)),
      part("attachments", (m) => [m.attachments, m.flags, m.embeds], (m) => attachments(this.#ownAttachments(m), context, this.#media)),
      part("components", (m) => [m.components, m.attachments, interactions.ofMessage(m.id).busy], (m) => components(m, context, this.#media)),
      part("reactions", (m) => [m.reactions, state.me?.id], (m) => reactionRow(m, context)),
      part("footer", (m) => [isEphemeral(m), interactions.ofMessage(m.id).failed], (m) => this.#footer(m)),
    ];
  }

  // A picture that an embed shows is not shown again; with Components V2 only what components name is shown at all.
  #ownAttachments(message) {
    if ((message.flags ?? 0) & FLAG.COMPONENTS_V2) return [];
    const embedded = embeddedUrls(message);
    return (message.attachments ?? []).filter((attachment) => !embedded.has(attachment.url) && !embedded.has(`attachment://${attachment.filename}`));
  }

  #lead(message) {
    const { state } = this.#context;
    const used = usedCommand(message);
    if (used?.user) {
      const member = state.member(used.user);
      return h("div.lead", {}, avatar(member, "tiny"), coloredName(member), h("span", {}, " used "), h("span.lead-command", {}, used.text));
    }
    if (!message.message_reference || isSystem(message)) return null;
    const referenced = message.referenced_message;
    if (!referenced) return h("div.lead", {}, icon("reply"), h("em", {}, "The message it answers is gone"));
    const member = state.member(referenced.author);
    const jump = () => this.#context.actions.goTo(referenced.channel_id ?? message.channel_id, referenced.id);
    const text = referenced.content || (referenced.attachments?.length ? "an attachment" : "a message");
    return h("div.lead", {}, avatar(member, "tiny"), coloredName(member), h("button.lead-text", { type: "button", onclick: jump }, inlineProse(text.split("\n")[0], this.#context)));
  }

  #gutter(message) {
    if (isSystem(message)) return h("span.gutter-note", {}, icon(SYSTEM_ICONS[message.type]));
    const member = this.#context.state.member(message.author);
    return [h("span.gutter-face", {}, avatar(member)), h("span.gutter-time", { "aria-hidden": "true" }, clock(new Date(message.timestamp)))];
  }

  #header(message) {
    const member = this.#context.state.member(message.author);
    const at = new Date(message.timestamp);
    const open = (event) => memberMenu(member, event.currentTarget, this.#context);
    return h("div.message-header", {},
      h("button.name-button", { type: "button", dataset: { focus: "name" }, onclick: open, "aria-haspopup": "menu" }, coloredName(member)),
      appBadge(member),
      h("time.message-time", { datetime: at.toISOString(), title: fullTime(at) }, messageTime(at)),
    );
  }

  #content(message) {
    if (isLoading(message) && message.interaction_failed) return h("p.failed", {}, icon("warning"), "The bot never finished this.");
    if (isLoading(message)) {
      const name = this.#context.state.member(message.author).display_name;
      return h("p.thinking", {}, h("span.dots", { "aria-hidden": "true" }, h("i"), h("i"), h("i")), `${name} is thinking…`);
    }
    if (isSystem(message)) {
      const text = SYSTEM_TEXTS[message.type] + (message.content ? `: ${message.content}` : "");
      const at = new Date(message.timestamp);
      return h("p.system-text", {}, coloredName(this.#context.state.member(message.author)), ` ${text} `, h("time.message-time", { title: fullTime(at) }, messageTime(at)));
    }
    const edited = message.edited_timestamp ? h("span.edited", { title: fullTime(new Date(message.edited_timestamp)) }, "(edited)") : null;
    if (!message.content) return null;
    const body = prose(message.content, this.#context);
    // The mark goes into the last line where that is a plain one.
    if (edited) (body.lastElementChild?.matches("p, small") ? body.lastElementChild : body).append(" ", edited);
    return body;
  }

  #footer(message) {
    const { state, interactions } = this.#context;
    const failed = interactions.ofMessage(message.id).failed;
    return [
      failed ? h("p.failed", { role: "alert" }, icon("warning"), "The bot did not answer that. Try it again.") : null,
      isEphemeral(message)
        ? h("p.only-you", {}, icon("eye"), "Only you can see this · ", h("button.text-button", { type: "button", dataset: { focus: "dismiss" }, onclick: () => state.dismiss(message) }, "Dismiss"))
        : null,
    ];
  }

  #toolbar() {
    const react = (event) => pickReaction(this.#message, event.currentTarget, this.#context);
    const more = (event) => messageMenu(this.#message, event.currentTarget, this.#context);
    return h("div.message-tools", {},
      h("button.icon-button.tool-react", { type: "button", tabindex: "-1", "aria-label": "Add a reaction", onclick: react }, icon("smile")),
      h("button.icon-button", { type: "button", tabindex: "-1", "aria-label": "More actions", "aria-haspopup": "menu", onclick: more }, icon("more")),
    );
  }

  #onContextMenu(event) {
    // Links, pictures and selected text keep the browser's own menu.
    if (event.target.closest("a, input, textarea") || String(getSelection()).trim()) return;
    event.preventDefault();
    messageMenu(this.#message, { x: event.clientX, y: event.clientY }, this.#context);
  }
}

// A redrawn part gives the focus back to the control that stands for the one that had it.
function keepingFocus(slot, redraw) {
  const focused = slot.contains(document.activeElement) ? document.activeElement.closest("[data-focus]")?.dataset.focus : null;
  redraw();
  if (focused) slot.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}
