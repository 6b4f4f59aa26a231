// Parsed Markdown as nodes. Mentions get their names from what the page knows; links leave by a new tab that learns nothing of this one.

import { h } from "./dom.js";
import { parse, parseInline } from "./markdown.js";
import { fullTime, timestamp } from "./time.js";

const JUMBO_LIMIT = 12;
const ONLY_EMOJI = /^(?:\p{Extended_Pictographic}|\p{Emoji_Component}|\p{Regional_Indicator}|\s)+$/u;

/** A message's content, an embed's description: blocks. */
export function prose(text, context) {
  return h("div.prose", { class: isJumbo(text) ? "prose-jumbo" : "" }, parse(text).map((node) => block(node, context)));
}

/** Text within a line: an embed's title, a field's name. */
export const inlineProse = (text, context) => parseInline(text).map((node) => inline(node, context));

/** Few emoji and nothing else are shown large. Digits are emoji components too, so they alone don't count. */
export function isJumbo(text) {
  const trimmed = String(text ?? "").trim();
  return trimmed.length > 0 && [...trimmed].length <= JUMBO_LIMIT && ONLY_EMOJI.test(trimmed) && /[^\d\s#*]/.test(trimmed);
}

function block(node, context) {
  const children = () => node.children.map((child) => (isBlock(child) ? block(child, context) : inline(child, context)));
  switch (node.type) {
    case "heading":
      // The channel's name is the page's second level: a message's headings lie below it.
      return h(`h${node.level + 2}.prose-h${node.level}`, {}, children());
    case "subtext":
      return h("small.prose-subtext", {}, children());
    case "quote":
      return h("blockquote", {}, children());
    case "code_block":
      return h("pre", { tabindex: "0", "aria-label": node.language ? `Code, ${node.language}` : "Code" }, h("code", {}, node.text));
    case "list": {
      const items = node.items.map((item) => h("li", {}, item.map((child) => (child.type === "paragraph" ? child.children.map((part) => inline(part, context)) : block(child, context)))));
      return h(node.ordered ? "ol" : "ul", { start: node.ordered ? node.start : null }, items);
    }
    default:
      return h("p", {}, children());
  }
}

const BLOCKS = new Set(["paragraph", "heading", "subtext", "quote", "list", "code_block"]);
const isBlock = (node) => BLOCKS.has(node.type);

const SIMPLE = { strong: "strong", em: "em", underline: "u", strike: "s" };

function inline(node, context) {
  const children = () => node.children.map((child) => inline(child, context));
  if (node.type in SIMPLE) return h(SIMPLE[node.type], {}, children());
  switch (node.type) {
    case "text":
      return document.createTextNode(node.text);
    case "code":
      return h("code", {}, node.text);
    case "link":
      return jump(node.url, context, children) ?? link(node.url, { title: node.title }, ...children());
    case "spoiler":
      return spoiler(children());
    case "time":
      return time(node);
    case "emoji":
      return h("span.custom-emoji", { title: `:${node.name}:` }, `:${node.name}:`);
    case "everyone":
      return h("span.mention.mention-me", {}, `@${node.name}`);
    default:
      return mention(node, context);
  }
}

const MESSAGE_LINK = /^https:\/\/(?:\w+\.)?discord\.com\/channels\/(\d+)\/(\d+)(?:\/(\d+))?$/;

// A link to a message of this very server stays here.
function jump(url, { state, actions }, children) {
  const [, guildId, channelId, messageId] = MESSAGE_LINK.exec(url) ?? [];
  if (!guildId || guildId !== state.guild?.id || !state.channels.has(channelId)) return null;
  return h("button.text-button", { type: "button", title: `Go to #${state.channels.get(channelId).name}`, onclick: () => actions.goTo(channelId, messageId) }, children());
}

/** A link out. Anything but http and https stays text. */
export function link(url, properties, ...children) {
  if (!/^https?:\/\//i.test(url)) return h("span", {}, ...children);
  return h("a", { href: url, target: "_blank", rel: "noopener noreferrer", ...properties }, ...children);
}

function spoiler(children) {
  const reveal = (event) => {
    const element = event.currentTarget;
    if (element.classList.contains("shown") || (event.type === "keydown" && event.key !== "Enter" && event.key !== " ")) return;
    event.preventDefault();
    element.classList.add("shown");
    element.removeAttribute("role");
    element.removeAttribute("tabindex");
    element.removeAttribute("aria-label");
  };
  return h("span.spoiler", { role: "button", tabindex: "0", "aria-label": "Hidden text. Show it", onclick: reveal, onkeydown: reveal }, h("span", {}, children));
}

function time({ seconds, style }) {
  const date = new Date(seconds * 1000);
  const valid = !Number.isNaN(date.getTime());
  return h("time.stamp", { datetime: valid ? date.toISOString() : null, title: valid ? fullTime(date) : null, dataset: style === "R" && valid ? { relative: seconds } : {} }, timestamp(seconds, style));
}

function mention(node, { state, actions }) {
  switch (node.type) {
    case "user": {
      const member = state.members.get(node.id);
      return h("span.mention", { class: node.id === state.me?.id ? "mention-me" : "" }, `@${member?.display_name ?? "someone"}`);
    }
    case "role":
      return h("span.mention", {}, `@${state.roles.get(node.id)?.name ?? "role"}`);
    case "channel": {
      const channel = state.channels.get(node.id);
      if (!channel) return h("span.mention", {}, "#unknown");
      return h("button.mention", { type: "button", onclick: () => actions.lookAt(node.id) }, `#${channel.name}`);
    }
    default:
      return h("button.mention", { type: "button", onclick: () => actions.prefill(`/${node.name} `) }, `/${node.name}`);
  }
}
