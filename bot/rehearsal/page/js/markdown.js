// Discord's Markdown as a tree. Pure: text in, plain objects out; prose.js makes nodes of them.
//
//   parse("**hi** <@1>\n> quoted") -> [{type: "paragraph", children: [{type: "strong", …}, …]}, {type: "quote", children: [...]}]
//
// Blocks: paragraph, heading {level}, subtext, quote, list {ordered, start, items: [[block]]}, code_block {language, text}.
// Inline: text, strong, em, underline, strike, spoiler, code, link {url, title}, user, role, channel, command {name, id},
//         emoji {name, id, animated}, time {seconds, style}, everyone. Links are http and https only.

const MAX_DEPTH = 12; // nesting beyond this is shown as it was typed

/** Parses a message, an embed's description or a text display. */
export function parse(text) {
  return blocks(String(text ?? "").replace(/\r\n?/g, "\n"), 0);
}

/** Parses text that can't hold blocks: an embed's title, a label. */
export function parseInline(text) {
  return inline(String(text ?? ""), 0);
}

// ---- blocks ----

const FENCE = /```(?:([A-Za-z0-9_+\-.#]+)\n)?\n*([\s\S]*?[^\n])\n*```/y;
const HEADING = /^(#{1,3})[ \t]+(\S.*)$/;
const SUBTEXT = /^-#[ \t]+(\S.*)$/;
const ITEM = /^([ \t]*)([-*]|\d{1,9}\.)[ \t]+(\S.*)$/;

const isBlockStart = (line) => HEADING.test(line) || SUBTEXT.test(line) || ITEM.test(line) || line.startsWith("> ") || line.startsWith(">>> ");

function blocks(text, depth) {
  if (depth > MAX_DEPTH) return [{ type: "paragraph", children: [{ type: "text", text }] }];
  const found = [];
  let at = 0;
  while (at < text.length) {
    const fence = matchAt(FENCE, text, at);
    if (fence) {
      found.push({ type: "code_block", language: fence[1] ?? null, text: fence[2] });
      at = skipNewline(text, at + fence[0].length);
      continue;
    }
    const line = lineAt(text, at);
    if (line.startsWith(">>> ")) {
      found.push({ type: "quote", children: blocks(text.slice(at + 4), depth + 1) });
      break;
    }
    const taken = quote(text, at, depth, found) || titled(line, depth, found) || list(text, at, depth, found);
    at = taken ? skipNewline(text, at + taken) : paragraph(text, at, depth, found);
  }
  return found;
}

function quote(text, at, depth, found) {
  const lines = [];
  let end = at;
  for (let line = lineAt(text, end); end < text.length && (line.startsWith("> ") || line === ">"); line = lineAt(text, end)) {
    lines.push(line.slice(2));
    end = skipNewline(text, end + line.length);
    if (text[end - 1] !== "\n") break;
  }
  if (!lines.length) return 0;
  found.push({ type: "quote", children: blocks(lines.join("\n"), depth + 1) });
  return text[end - 1] === "\n" ? end - at - 1 : end - at;
}

function titled(line, depth, found) {
  const heading = HEADING.exec(line);
  if (heading) found.push({ type: "heading", level: heading[1].length, children: inline(heading[2].trim(), depth) });
  const subtext = heading ? null : SUBTEXT.exec(line);
  if (subtext) found.push({ type: "subtext", children: inline(subtext[1], depth) });
  return heading || subtext ? line.length : 0;
}

function list(text, at, depth, found) {
  const rows = []; // {indent, ordered, start, text}
  let end = at;
  while (end < text.length) {
    const line = lineAt(text, end);
    const item = ITEM.exec(line);
    if (!item && !(rows.length && /^[ \t]{2,}\S/.test(line))) break;
    if (item) rows.push({ indent: item[1].replaceAll("\t", "  ").length, ordered: item[2].length > 1, start: parseInt(item[2], 10), text: item[3] });
    else rows.at(-1).text += `\n${line.trim()}`;
    end += line.length + 1;
  }
  if (!rows.length) return 0;
  for (let row = 0; row < rows.length; ) {
    const [node, next] = listFrom(rows, row, depth);
    found.push(node);
    row = next;
  }
  return Math.min(end, text.length + 1) - at - 1;
}

// One list from rows[first] on: rows further in belong to the item before them.
function listFrom(rows, first, depth) {
  const { indent, ordered, start } = rows[first];
  const items = [];
  let row = first;
  while (row < rows.length && (rows[row].indent >= indent || row === first)) {
    if (rows[row].indent > indent && items.length && depth < MAX_DEPTH) {
      const [child, next] = listFrom(rows, row, depth + 1);
      items.at(-1).push(child);
      row = next;
      continue;
    }
    if (rows[row].ordered !== ordered) break;
    items.push([{ type: "paragraph", children: inline(rows[row].text, depth + 1) }]);
    row += 1;
  }
  return [{ type: "list", ordered, start: ordered ? start : null, items }, row];
}

// Everything up to the next line that starts a block, or a code block that opens within a line.
function paragraph(text, at, depth, found) {
  let end = at;
  while (end < text.length) {
    const line = lineAt(text, end);
    if (end > at && isBlockStart(line)) break;
    const tick = line.indexOf("```");
    if (tick >= 0 && matchAt(FENCE, text, end + tick)) {
      end += tick;
      break;
    }
    end += line.length + 1;
  }
  end = Math.min(end, text.length);
  const body = text.slice(at, end).replace(/\n$/, "");
  if (body) found.push({ type: "paragraph", children: inline(body, depth) });
  return end;
}

function lineAt(text, at) {
  const end = text.indexOf("\n", at);
  return text.slice(at, end < 0 ? text.length : end);
}

const skipNewline = (text, at) => (text[at] === "\n" ? at + 1 : at);

function matchAt(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

// ---- inline ----

const PLAIN = /[^\\`<[*_~|@h]+/y;
const LINK = /\[((?:\\.|[^[\]\\]|\[[^\]]*\])+)\]\(\s*<?(https?:\/\/(?:[^\s()<>]|\([^\s()]*\))+)>?(?:\s+"([^"]*)")?\s*\)/y;
const URL_ALONE = /https?:\/\/(?:[^\s<>()[\]"]|\([^\s()]*\))*(?:[^\s<>()[\]"'.,:;!?*_~|]|\([^\s()]*\))/y;

// Tried in order at each place; each makes a node of its match.
const RULES = [
  [/\\([^0-9A-Za-z\s])/y, ([, text]) => ({ type: "text", text })],
  [/(`+)([\s\S]*?[^`])\1(?!`)/y, ([, , text]) => ({ type: "code", text: /^ .*\S.* $/s.test(text) ? text.slice(1, -1) : text })],
  [/<t:(-?\d{1,12})(?::([tTdDfFR]))?>/y, ([, seconds, style]) => ({ type: "time", seconds: Number(seconds), style: style ?? "f" })],
  [/<@!?(\d{1,20})>/y, ([, id]) => ({ type: "user", id })],
  [/<@&(\d{1,20})>/y, ([, id]) => ({ type: "role", id })],
  [/<#(\d{1,20})>/y, ([, id]) => ({ type: "channel", id })],
  [/<\/([^<>:\n]{1,100}):(\d{1,20})>/y, ([, name, id]) => ({ type: "command", name, id })],
  [/<(a?):(\w{1,40}):(\d{1,20})>/y, ([, animated, name, id]) => ({ type: "emoji", name, id, animated: Boolean(animated) })],
  [/<(https?:\/\/[^\s<>]+)>/y, ([, url]) => ({ type: "link", url, title: null, children: [{ type: "text", text: url }] })],
  [LINK, ([, text, url, title], depth) => ({ type: "link", url, title: title ?? null, children: inline(text, depth + 1, true) })],
  [URL_ALONE, ([url]) => ({ type: "link", url, title: null, children: [{ type: "text", text: url }] })],
  [/@(everyone|here)/y, ([, name]) => ({ type: "everyone", name })],
];

// Longest first where they share a character.
const MARKS = [["**", "strong"], ["__", "underline"], ["~~", "strike"], ["||", "spoiler"], ["*", "em"], ["_", "em"]];

function inline(text, depth, inLink = false) {
  const nodes = [];
  const addText = (piece) => {
    if (nodes.at(-1)?.type === "text") nodes.at(-1).text += piece;
    else nodes.push({ type: "text", text: piece });
  };
  for (let at = 0; at < text.length; ) {
    const plain = matchAt(PLAIN, text, at);
    if (plain) {
      addText(plain[0]);
      at += plain[0].length;
      continue;
    }
    const [node, length] = (depth < MAX_DEPTH && (byRule(text, at, depth, inLink) ?? byMark(text, at, depth, inLink))) || [null, 1];
    if (node && node.type !== "text") nodes.push(node);
    else addText(node ? node.text : text[at]);
    at += length;
  }
  return nodes;
}

function byRule(text, at, depth, inLink) {
  for (const [pattern, make] of RULES) {
    const match = matchAt(pattern, text, at);
    if (!match) continue;
    const node = make(match, depth);
    if (inLink && node.type === "link") continue; // no link within a link
    return [node, match[0].length];
  }
  return null;
}

function byMark(text, at, depth, inLink) {
  for (const [mark, type] of MARKS) {
    if (!text.startsWith(mark, at) || !opens(text, at, mark)) continue;
    const end = closing(text, at + mark.length, mark);
    if (end > at + mark.length) return [{ type, children: inline(text.slice(at + mark.length, end), depth + 1, inLink) }, end + mark.length - at];
  }
  return null;
}

const isWord = (character) => character !== undefined && /[\p{L}\p{N}_]/u.test(character);

// snake_case stays as it is, and so does 2 * 3.
function opens(text, at, mark) {
  if (mark === "_") return !isWord(text[at - 1]);
  return mark !== "*" || /\S/.test(text[at + 1] ?? " ");
}

// The place of the mark that closes, or -1. Escapes and code are stepped over; of *** the outer mark takes the last.
function closing(text, from, mark) {
  for (let at = from; at < text.length; at += 1) {
    if (text[at] === "\\") {
      at += 1;
    } else if (text[at] === "`") {
      const code = matchAt(RULES[1][0], text, at);
      if (code) at += code[0].length - 1;
    } else if (mark.length === 1 && text[at] === mark && text[at + 1] === mark) {
      at += 1;
    } else if (text.startsWith(mark, at)) {
      if (mark.length === 2 && text[at + 2] === mark[0] && mark !== "||") continue;
      if (mark === "_" && isWord(text[at + 1])) continue;
      if (mark === "*" && /\s/.test(text[at - 1])) continue;
      return at;
    }
  }
  return -1;
}
