// What hangs on a message: pictures, audio with a player, video, and everything else as a chip with its size.

import { parseCsv } from "./csv.js";
import { fill, h } from "./dom.js";
import { icon } from "./icons.js";
import { picture } from "./lightbox.js";
import { audioPlayer } from "./player.js";
import { fileSize } from "./uploads.js";

const BY_EXTENSION = [
  ["image", /\.(png|jpe?g|gif|webp|avif)$/i],
  ["audio", /\.(mp3|wav|flac|ogg|oga|opus|m4a|aac|aiff?)$/i],
  ["video", /\.(mp4|webm|mov)$/i],
  ["csv", /\.csv$/i],
];

/** "image" | "audio" | "video" | "csv" | "file". SVG is a file: it is a document, not a picture. */
export function kindOf({ content_type: type = "", filename = "" }) {
  const plain = (type ?? "").split(";")[0].trim().toLowerCase();
  if (plain === "image/svg+xml") return "file";
  if (plain === "text/csv") return "csv";
  const family = plain.split("/")[0];
  if (["image", "audio", "video"].includes(family)) return family;
  return BY_EXTENSION.find(([, pattern]) => pattern.test(filename))?.[0] ?? "file";
}

const ORDER = { image: 0, video: 1, audio: 2, csv: 3, file: 3 };

/** Draws attachments, pictures first. `media` keeps what was drawn before, by attachment id, so that an edit stops no music. */
export function attachments(list, context, media) {
  const sorted = [...list].sort((a, b) => ORDER[kindOf(a)] - ORDER[kindOf(b)]);
  const pictures = sorted.filter((attachment) => kindOf(attachment) === "image");
  const others = sorted.filter((attachment) => kindOf(attachment) !== "image");
  return [
    pictures.length ? h("div.pictures", { class: pictures.length > 1 ? "pictures-many" : "" }, pictures.map((attachment) => attachmentView(attachment, context, media))) : null,
    others.map((attachment) => attachmentView(attachment, context, media)),
  ];
}

/** One attachment, kept over edits. */
export function attachmentView(attachment, context, media) {
  if (!media.has(attachment.id)) media.set(attachment.id, draw(attachment, context));
  return media.get(attachment.id);
}

function draw(attachment, context) {
  switch (kindOf(attachment)) {
    case "image":
      return picture({ url: attachment.url, alt: attachment.description || attachment.filename, width: attachment.width, height: attachment.height }, context);
    case "audio":
      return audioPlayer(attachment, context);
    case "video":
      return h("video.video", { src: attachment.url, controls: true, preload: "metadata", "aria-label": attachment.filename });
    case "csv":
      return table(attachment);
    default:
      return chip(attachment);
  }
}

function chip(attachment, ...more) {
  const [, stem, extension] = /^(.*?)(\.[^.]*)?$/.exec(attachment.filename);
  return h("div.file", {},
    icon(kindOf(attachment) === "csv" ? "sheet" : "file"),
    h("div.file-text", {},
      h("a.file-name", { href: attachment.url, download: attachment.filename }, h("span.file-stem", {}, stem), extension),
      h("span.file-size", {}, fileSize(attachment.size ?? 0)),
    ),
    more,
    h("a.icon-button", { href: attachment.url, download: attachment.filename, "aria-label": `Download ${attachment.filename}` }, icon("download")),
  );
}

const PREVIEW_LIMIT_BYTES = 2_000_000;
const PREVIEW_ROWS = 9; // the header and eight more

function table(attachment) {
  if ((attachment.size ?? 0) > PREVIEW_LIMIT_BYTES) return chip(attachment);
  const preview = h("div.csv", { hidden: true });
  const toggle = h("button.text-button", { type: "button", "aria-expanded": "false", onclick: async () => {
    if (!preview.childElementCount) await readInto(preview, attachment);
    preview.hidden = !preview.hidden;
    toggle.setAttribute("aria-expanded", String(!preview.hidden));
    toggle.textContent = preview.hidden ? "Preview" : "Hide";
  } }, "Preview");
  return h("div.file-with-preview", {}, chip(attachment, toggle), preview);
}

async function readInto(preview, attachment) {
  try {
    const response = await fetch(attachment.url);
    if (!response.ok) throw new Error(String(response.status));
    const text = await response.text();
    const [head = [], ...rows] = parseCsv(text, PREVIEW_ROWS);
    fill(preview,
      h("table", {}, h("thead", {}, h("tr", {}, head.map((cell) => h("th", { scope: "col" }, cell)))), h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell) => h("td", {}, cell)))))),
      h("p.csv-note", {}, `The first ${rows.length} rows`),
    );
    preview.tabIndex = 0;
  } catch {
    fill(preview, h("p.csv-note", {}, "The preview could not be loaded."));
  }
}
