// What this place is and what to try: at the beginning of a channel, and in the dialog behind "What to try".

import { fill, freshId, h } from "./dom.js";
import { icon } from "./icons.js";

// Lines for the message field: composer.js opens the command and fills it in.
const TRIES = [
  { icon: "sparkle", title: "Make a clip", text: ["Ask for eight seconds of techno, and hear them here."], line: "/generate prompt:Alice_hash deep rolling techno seconds:8", shown: "/generate" },
  { icon: "thread", title: "Continue a track", text: ["Attach a track of yours (mp3, wav, flac …) and the model plays on."], line: "/continue track:", shown: "/continue" },
  { icon: "file", title: "Fill the crate", text: ["Up to ten tracks at once; each gets a card with its tempo, key and bars."], line: "/crate add", shown: "/crate add" },
  { icon: "spark", title: "Teach it your sound", text: ["With a dozen tracks in the crate, as Mira: a finetune, with its report card."], line: "/finetune start", shown: "/finetune" },
  { icon: "smile", title: "Rate what you hear", text: ["Press ", h("b", {}, "1️⃣"), " to ", h("b", {}, "5️⃣"), " under a clip. Then play another member, and rate it again."] },
  { icon: "sheet", title: "See the numbers", text: ["Every rating counts for its category."], line: "/results", shown: "/results" },
];

function cards(actions, afterTry = () => {}) {
  return h("ul.tries", {}, TRIES.map((entry) => h("li.try", {},
    icon(entry.icon),
    h("div.try-text", {}, h("h3", {}, entry.title), h("p", {}, entry.text.map((part) => (part instanceof Node ? part.cloneNode(true) : part)))),
    entry.line ? h("button.button.button-secondary.try-button", { type: "button", "aria-label": `Try it: ${entry.title}`, onclick: () => {
      afterTry();
      actions.prefill(entry.line);
    } }, "Try ", h("span.try-command", {}, entry.shown)) : null,
  )));
}

const about = (state) => `This is ${state.guild?.name ?? "a server"} on a stage of your own: it works like a Discord server, but it is not Discord, and nothing here leaves this computer. The bot, the engine and the numbers are the real ones.`;

/** The beginning of a channel; only seen when there is nothing older to load. */
export function drawWelcome(element, { state, actions }, complete) {
  const { channel } = state;
  element.hidden = !channel || !complete;
  if (element.hidden) return;
  fill(element,
    h("div.welcome-mark", {}, icon("hash")),
    h("h2.welcome-title", {}, `This is where #${channel.name} begins`),
    h("p.welcome-about", {}, about(state)),
    cards(actions),
    h("p.welcome-more", {}, "Type ", h("kbd", {}, "/"), " for every command, or ", h("button.text-button", { type: "button", onclick: () => actions.prefill("/help") }, "ask the bot for help"), "."),
  );
}

/** The same in a dialog, for when the beginning is far away. */
export function openTour({ state, actions }) {
  const titleId = freshId("tour");
  const dialog = h("dialog.modal.tour", { "aria-labelledby": titleId, onclose: () => dialog.remove() },
    h("header.modal-head", {}, h("img", { src: "icon.svg", alt: "", width: "28", height: "28" }), h("h2", { id: titleId }, "What to try"), h("button.icon-button", { type: "button", "aria-label": "Close", onclick: () => dialog.close() }, icon("close"))),
    h("div.modal-body", {}, h("p", {}, about(state)), cards(actions, () => dialog.close()), h("p.tour-note", {}, "Right-click a message (or hold it, or press ⋯) for the Apps menu. Switch between members in the left column: each sees only what is meant for them.")),
  );
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
}
