// Embeds: the boxes with a coloured edge.

import { h } from "./dom.js";
import { picture } from "./lightbox.js";
import { inlineProse, link, prose } from "./prose.js";
import { messageTime } from "./time.js";

/** Discord's colour number as CSS, or null. */
export const cssColor = (number) => (Number.isInteger(number) ? `#${number.toString(16).padStart(6, "0")}` : null);

/** attachment://name as the URL of the message's attachment of that name; other URLs as they are. */
export function resolveUrl(url, message) {
  if (!url?.startsWith("attachment://")) return url;
  return (message.attachments ?? []).find((attachment) => attachment.filename === url.slice("attachment://".length))?.url ?? null;
}

/** The URLs of pictures that a message's embeds show. */
export function embeddedUrls(message) {
  return new Set((message.embeds ?? []).flatMap((embed) => [embed.image?.url, embed.thumbnail?.url, embed.footer?.icon_url, embed.author?.icon_url]).filter(Boolean));
}

export function embeds(message, context) {
  return (message.embeds ?? []).map((embed) => one(embed, message, context));
}

function one(embed, message, context) {
  const color = cssColor(embed.color);
  const thumbnail = resolveUrl(embed.thumbnail?.url, message);
  const image = resolveUrl(embed.image?.url, message);
  const title = embed.title ? inlineProse(embed.title, context) : null;
  return h("article.embed", { style: color ? { "--edge": color } : {}, "aria-label": embed.title ?? "Embed" },
    h("div.embed-text", {},
      embed.author?.name ? h("p.embed-author", {}, small(embed.author.icon_url, message), embed.author.url ? link(embed.author.url, {}, embed.author.name) : embed.author.name) : null,
      title ? h("p.embed-title", {}, embed.url ? link(embed.url, {}, title) : title) : null,
      embed.description ? prose(embed.description, context) : null,
      embed.fields?.length ? h("dl.embed-fields", {}, embed.fields.map((field) => oneField(field, context))) : null,
    ),
    thumbnail ? h("div.embed-thumbnail", {}, picture({ url: thumbnail, alt: embed.title ?? "Thumbnail" }, context)) : null,
    image ? h("div.embed-image", {}, picture({ url: image, alt: embed.title ?? "Picture", width: embed.image.width, height: embed.image.height }, context)) : null,
    embed.footer?.text || embed.timestamp
      ? h("p.embed-footer", {}, small(embed.footer?.icon_url, message), [embed.footer?.text, embed.timestamp ? messageTime(new Date(embed.timestamp)) : null].filter(Boolean).join(" • "))
      : null,
  );
}

const oneField = (field, context) =>
  h("div.embed-field", { class: field.inline ? "embed-field-inline" : "" }, h("dt", {}, inlineProse(field.name, context)), h("dd", {}, prose(field.value, context)));

function small(url, message) {
  const resolved = resolveUrl(url, message);
  return resolved ? h("img.embed-icon", { src: resolved, alt: "", width: "20", height: "20" }) : null;
}
