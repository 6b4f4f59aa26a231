// Slash commands as data: the tree made flat, the search, a typed line read, an option's value checked as Discord's client checks it. Pure.

export const OPTION = { SUB_COMMAND: 1, SUB_COMMAND_GROUP: 2, STRING: 3, INTEGER: 4, BOOLEAN: 5, USER: 6, CHANNEL: 7, ROLE: 8, MENTIONABLE: 9, NUMBER: 10, ATTACHMENT: 11 };

const MAX_STRING = 6_000; // Discord's own limit for a string option

/**
 * Every command that can be typed, sub-commands one by one:
 * {command, path: ["crate", "add"], label: "/crate add", description, options: [...]}.
 */
export function flatten(commands) {
  const leaves = [];
  const walk = (command, node, path) => {
    const inner = (node.options ?? []).filter((option) => option.type === OPTION.SUB_COMMAND || option.type === OPTION.SUB_COMMAND_GROUP);
    if (inner.length) {
      inner.forEach((child) => walk(command, child, [...path, child.name]));
      return;
    }
    leaves.push({ command, path, label: `/${path.join(" ")}`, description: node.description ?? "", options: node.options ?? [] });
  };
  commands.filter((command) => (command.type ?? 1) === 1).forEach((command) => walk(command, command, [command.name]));
  return leaves.sort((a, b) => a.label.localeCompare(b.label));
}

/** The commands that fit what was typed, best first: by how the name begins, then by what it holds, then by the description. */
export function search(leaves, typed) {
  const query = typed.replace(/^\//, "").trim().toLowerCase().replace(/\s+/g, " ");
  if (!query) return leaves;
  const rank = ({ path, description }) => {
    const name = path.join(" ").toLowerCase();
    if (name.startsWith(query)) return 0;
    if (path.some((part) => part.toLowerCase().startsWith(query))) return 1;
    if (name.includes(query)) return 2;
    return description.toLowerCase().includes(query) ? 3 : 4;
  };
  return leaves.map((leaf) => [rank(leaf), leaf]).filter(([value]) => value < 4).sort(([a], [b]) => a - b).map(([, leaf]) => leaf);
}

/**
 * Reads a line such as "/generate prompt:deep techno seconds:8" -> {leaf, values: {prompt: "deep techno", seconds: "8"}}.
 * A name without a value asks for that option. What stands before the first "name:" belongs to the first option that takes text. null when no command has that name.
 */
export function readLine(text, leaves) {
  const named = leaves
    .filter(({ label }) => text.toLowerCase() === label.toLowerCase() || text.toLowerCase().startsWith(`${label.toLowerCase()} `))
    .sort((a, b) => b.label.length - a.label.length)[0];
  if (!named) return null;
  const rest = text.slice(named.label.length).trim();
  const values = {};
  const names = named.options.map((option) => option.name);
  const marks = [...rest.matchAll(/(?:^|\s)([\p{L}\p{N}_-]{1,32}):\s*/gu)].filter((mark) => names.includes(mark[1]));
  marks.forEach((mark, index) => {
    const value = rest.slice(mark.index + mark[0].length, marks[index + 1]?.index ?? rest.length).trim();
    values[mark[1]] = value;
  });
  const free = rest.slice(0, marks[0]?.index ?? rest.length).trim();
  const first = named.options.find((option) => option.type === OPTION.STRING);
  if (free && first && !(first.name in values)) values[first.name] = free;
  return { leaf: named, values };
}

/** What an option takes, in words: "a whole number from 1 to 240". */
export function rule(option) {
  const between = (low, high, unit = "") => {
    if (low !== undefined && high !== undefined) return ` from ${low} to ${high}${unit}`;
    if (low !== undefined) return `, at least ${low}${unit}`;
    return high !== undefined ? `, at most ${high}${unit}` : "";
  };
  switch (option.type) {
    case OPTION.INTEGER:
      return `a whole number${between(option.min_value, option.max_value)}`;
    case OPTION.NUMBER:
      return `a number${between(option.min_value, option.max_value)}`;
    case OPTION.BOOLEAN:
      return "true or false";
    case OPTION.USER:
      return "a member";
    case OPTION.CHANNEL:
      return "a channel";
    case OPTION.ROLE:
      return "a role";
    case OPTION.MENTIONABLE:
      return "a member or a role";
    case OPTION.ATTACHMENT:
      return "a file: choose it, drop it here, or paste it";
    default:
      return option.choices?.length ? "one of the list" : `text${between(option.min_length, option.max_length, " characters")}`;
  }
}

/**
 * Checks what was given for an option. given: {text, picked: {name, value} | null, file: File | null}.
 * -> {value}, {empty: true} or {error: "words for a person"}.
 */
export function readValue(option, { text = "", picked = null, file = null }) {
  const typed = text.trim();
  if (option.type === OPTION.ATTACHMENT) return file ? { value: file } : { empty: true };
  if (picked) return { value: picked.value };
  if (!typed) return { empty: true };
  if (option.choices?.length) {
    const choice = option.choices.find(({ name, value }) => name.toLowerCase() === typed.toLowerCase() || String(value).toLowerCase() === typed.toLowerCase());
    return choice ? { value: choice.value } : { error: `${option.name} must be one of the list.` };
  }
  switch (option.type) {
    case OPTION.INTEGER:
    case OPTION.NUMBER:
      return readNumber(option, typed);
    case OPTION.BOOLEAN:
      if (/^(true|yes|on)$/i.test(typed)) return { value: true };
      return /^(false|no|off)$/i.test(typed) ? { value: false } : { error: `${option.name} must be true or false.` };
    case OPTION.USER:
    case OPTION.CHANNEL:
    case OPTION.ROLE:
    case OPTION.MENTIONABLE:
      return /^\d{5,20}$/.test(typed) ? { value: typed } : { error: `Pick ${rule(option)} from the list for ${option.name}.` };
    default:
      return readString(option, text.trim());
  }
}

function readNumber(option, typed) {
  const value = Number(typed.replace(",", "."));
  const fits = Number.isFinite(value) && (option.type === OPTION.NUMBER || Number.isInteger(value));
  const inRange = value >= (option.min_value ?? -Infinity) && value <= (option.max_value ?? Infinity);
  return fits && inRange ? { value } : { error: `${option.name} must be ${rule(option)}.` };
}

function readString(option, value) {
  const length = [...value].length;
  if (length < (option.min_length ?? 0) || length > (option.max_length ?? MAX_STRING)) return { error: `${option.name} must be ${rule({ max_length: MAX_STRING, ...option })}; it has ${length}.` };
  return { value };
}
