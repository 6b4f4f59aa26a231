// Reactions under a message: chips with counts that toggle, and a small picker that has the five ratings in front.

import { freshId, h, place, topLayer } from "./dom.js";
import { icon } from "./icons.js";
import { sameEmoji } from "./state.js";

export const RATINGS = ["1️⃣", "2️⃣", "3️⃣", "4️⃣", "5️⃣"];
const OTHERS = [
  ["🔥", "fire"], ["❤️", "heart"], ["👍", "thumbs up"], ["👎", "thumbs down"], ["👏", "clap"],
  ["🎧", "headphones"], ["🎶", "notes"], ["🎛️", "control knobs"], ["🪩", "mirror ball"], ["🔊", "loud"],
  ["🤘", "horns"], ["🙌", "raised hands"], ["💃", "dancer"], ["🤯", "mind blown"], ["😍", "heart eyes"],
  ["😂", "tears of joy"], ["😮", "surprised"], ["🤔", "thinking"], ["😴", "asleep"], ["🥱", "yawning"],
  ["👀", "eyes"], ["💯", "hundred"], ["🚀", "rocket"], ["✨", "sparkles"], ["🌙", "moon"],
];
const COLUMNS = 5;

/** The row under a message, or nothing when there are no reactions. */
export function reactionRow(message, context) {
  const reactions = message.reactions ?? [];
  if (!reactions.length) return null;
  return h("div.reactions", { role: "group", "aria-label": "Reactions" },
    reactions.map((reaction) => chip(message, reaction, context)),
    h("button.reaction.reaction-add", {
      type: "button", "aria-label": "Add a reaction", dataset: { focus: "add" },
      onclick: (event) => pickReaction(message, event.currentTarget, context),
    }, icon("smile")),
  );
}

function chip(message, { emoji, count, me }, { actions }) {
  const people = count === 1 ? "1 reaction" : `${count} reactions`;
  return h("button.reaction", {
    type: "button",
    class: me ? "reaction-mine" : "",
    "aria-pressed": String(Boolean(me)),
    "aria-label": `${emojiName(emoji)}, ${people}${me ? ", yours among them" : ""}`,
    title: me ? "Take your reaction back" : "React with this too",
    dataset: { focus: `reaction-${emoji.id ?? emoji.name}` },
    onclick: () => actions.react(message, emoji, !me),
  }, h("span.reaction-emoji", {}, emoji.id ? `:${emoji.name}:` : emoji.name), h("span.reaction-count", {}, count));
}

function emojiName(emoji) {
  const rating = RATINGS.indexOf(emoji.name);
  return rating >= 0 ? `${rating + 1} of 5` : (OTHERS.find(([symbol]) => symbol === emoji.name)?.[1] ?? emoji.name);
}

let closeOpen = null;

/** Opens the picker beside its anchor; picking toggles the reaction. */
export function pickReaction(message, anchor, context) {
  closeOpen?.();
  const pick = (name) => {
    close();
    const mine = (message.reactions ?? []).find((reaction) => sameEmoji(reaction.emoji, { id: null, name }))?.me;
    context.actions.react(message, { id: null, name }, !mine);
  };
  const cell = (symbol, label) => h("button.emoji", { type: "button", "aria-label": label, title: label, tabindex: "-1", onclick: () => pick(symbol) }, symbol);
  const title = freshId("picker");
  const picker = h("div.picker", { role: "dialog", "aria-labelledby": title },
    h("p.picker-title", { id: title }, "Rate it"),
    h("div.emoji-grid.emoji-ratings", {}, RATINGS.map((symbol, index) => cell(symbol, `${index + 1} of 5`))),
    h("p.picker-title", {}, "React"),
    h("div.emoji-grid", {}, OTHERS.map(([symbol, label]) => cell(symbol, label))),
  );
  const opener = anchor instanceof Element ? anchor : document.activeElement;
  const close = () => {
    picker.remove();
    document.removeEventListener("pointerdown", outside, true);
    closeOpen = null;
    if (opener?.isConnected) opener.focus({ preventScroll: true });
  };
  const outside = (event) => {
    if (!picker.contains(event.target)) close();
  };
  picker.addEventListener("keydown", (event) => move(event, picker, close));
  topLayer(anchor instanceof Element ? anchor : null).append(picker);
  place(picker, anchor, { prefer: "above", align: opener.closest(".message-tools") ? "end" : "start" });
  document.addEventListener("pointerdown", outside, true);
  closeOpen = close;
  const first = picker.querySelector(".emoji");
  first.tabIndex = 0;
  first.focus({ preventScroll: true });
}

function move(event, picker, close) {
  const cells = [...picker.querySelectorAll(".emoji")];
  const at = cells.indexOf(document.activeElement);
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: COLUMNS, ArrowUp: -COLUMNS };
  if (event.key === "Escape" || event.key === "Tab") {
    event.preventDefault();
    close();
  } else if (/^[1-5]$/.test(event.key)) {
    cells[Number(event.key) - 1].click();
  } else if (event.key in steps) {
    event.preventDefault();
    const target = cells[Math.max(0, Math.min(cells.length - 1, at + steps[event.key]))];
    cells.forEach((cell) => (cell.tabIndex = -1));
    target.tabIndex = 0;
    target.focus({ preventScroll: true });
  }
}
