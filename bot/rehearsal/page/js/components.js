// Message components: action rows with buttons and selects, and the boxes of Components V2. Modals draw their own (modal.js).

import { attachmentView } from "./attachments.js";
import { h } from "./dom.js";
import { cssColor, resolveUrl } from "./embeds.js";
import { icon } from "./icons.js";
import { picture } from "./lightbox.js";
import { link, prose } from "./prose.js";
import { Select } from "./select.js";

export const TYPE = {
  ACTION_ROW: 1, BUTTON: 2, STRING_SELECT: 3, TEXT_INPUT: 4, USER_SELECT: 5, ROLE_SELECT: 6, MENTIONABLE_SELECT: 7, CHANNEL_SELECT: 8,
  SECTION: 9, TEXT_DISPLAY: 10, THUMBNAIL: 11, MEDIA_GALLERY: 12, FILE: 13, SEPARATOR: 14, CONTAINER: 17, LABEL: 18, FILE_UPLOAD: 19,
};
export const SELECTS = new Set([TYPE.STRING_SELECT, TYPE.USER_SELECT, TYPE.ROLE_SELECT, TYPE.MENTIONABLE_SELECT, TYPE.CHANNEL_SELECT]);

const BUTTON_KINDS = { 1: "primary", 2: "secondary", 3: "success", 4: "danger", 5: "link", 6: "primary" };

/** Draws a message's components. `media` keeps pictures and players over edits. */
export function components(message, context, media) {
  return (message.components ?? []).map((component) => draw(component, { message, context, media }));
}

function draw(component, at) {
  switch (component.type) {
    case TYPE.ACTION_ROW:
      return h("div.row", {}, component.components.map((child) => draw(child, at)));
    case TYPE.BUTTON:
      return button(component, at);
    case TYPE.SECTION:
      return h("div.section", {}, h("div.section-text", {}, component.components.map((child) => draw(child, at))), component.accessory ? draw(component.accessory, at) : null);
    case TYPE.TEXT_DISPLAY:
      return prose(component.content, at.context);
    case TYPE.THUMBNAIL:
      return h("div.thumbnail", {}, shown(component, at));
    case TYPE.MEDIA_GALLERY:
      return h("div.pictures", { class: component.items.length > 1 ? "pictures-many" : "" }, component.items.map((item) => shown(item, at)));
    case TYPE.FILE:
      return file(component, at);
    case TYPE.SEPARATOR:
      return h("hr.separator", { class: `${component.divider === false ? "separator-plain" : ""} ${component.spacing === 2 ? "separator-large" : ""}` });
    case TYPE.CONTAINER: {
      const color = cssColor(component.accent_color);
      return h("div.container", { class: component.spoiler ? "container-spoiler" : "", style: color ? { "--edge": color } : {} }, component.components.map((child) => draw(child, at)));
    }
    default:
      return SELECTS.has(component.type) ? select(component, at) : h("p.unknown", {}, `(A component of type ${component.type}, which this page does not draw)`);
  }
}

function emojiOf(emoji) {
  if (!emoji) return null;
  return h("span.button-emoji", { "aria-hidden": emoji.id ? null : "true" }, emoji.id ? `:${emoji.name}:` : emoji.name);
}

function button(component, { message, context }) {
  const face = [emojiOf(component.emoji), component.label ? h("span", {}, component.label) : null];
  const kind = BUTTON_KINDS[component.style] ?? "secondary";
  if (kind === "link") return link(component.url, { class: "button button-link" }, face, icon("link"));
  const busy = context.interactions.ofMessage(message.id).busy.includes(component.custom_id);
  return h(`button.button.button-${kind}`, {
    type: "button",
    disabled: component.disabled,
    class: busy ? "button-busy" : "",
    "aria-busy": busy ? "true" : null,
    "aria-label": component.label ? null : (component.emoji?.name ?? "Button"),
    dataset: { focus: component.custom_id },
    onclick: () => !busy && context.actions.click(message, component.custom_id),
  }, face, busy ? h("span.dots", { "aria-hidden": "true" }, h("i"), h("i"), h("i")) : null);
}

function select(component, { message, context }) {
  const busy = context.interactions.ofMessage(message.id).busy.includes(component.custom_id);
  return new Select(component, context, { disabled: component.disabled || busy, onCommit: (values) => context.actions.select(message, component.custom_id, values) }).element;
}

function attachmentBehind(url, message) {
  const resolved = resolveUrl(url, message);
  return (message.attachments ?? []).find((attachment) => attachment.url === resolved) ?? null;
}

function shown(item, { message, context, media }) {
  const attachment = attachmentBehind(item.media?.url, message);
  if (attachment) return attachmentView(item.description ? { ...attachment, description: item.description } : attachment, context, media);
  const url = resolveUrl(item.media?.url, message);
  return url ? picture({ url, alt: item.description ?? "Picture", width: item.media.width, height: item.media.height }, context) : null;
}

function file(component, { message, context, media }) {
  const url = resolveUrl(component.file?.url, message);
  const known = attachmentBehind(component.file?.url, message);
  if (!url) return null;
  const attachment = known ?? { id: url, url, filename: component.name ?? url.split("/").pop().split("?")[0], size: component.size ?? 0 };
  return attachmentView(attachment, context, media);
}
