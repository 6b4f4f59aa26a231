// Building DOM nodes. Everything on the page is made here or with document's own methods:
// no markup is ever parsed from a string, so that no member's words can become markup.

/**
 * h("button.pill.on", {type: "button", onclick: fn, "aria-label": "Play"}, icon("play"), "Play") -> HTMLElement
 * Properties: functions under on… are listeners; dataset and style are objects; null, undefined and false are left out; true is an empty attribute.
 */
export function h(selector, properties = {}, ...children) {
  const [tag, ...classes] = selector.split(".");
  const element = document.createElement(tag || "div");
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(properties ?? {})) setProperty(element, name, value);
  append(element, children);
  return element;
}

function setProperty(element, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (name === "dataset") Object.assign(element.dataset, value);
  else if (name === "style") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
  else if (name === "class") element.className += ` ${value}`;
  else element.setAttribute(name, value === true ? "" : String(value));
}

/** Appends nodes and texts; nested lists are flattened, empty things skipped. */
export function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false || child === "") continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

/** Replaces what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren();
  return append(element, children);
}

export const byId = (id) => document.getElementById(id);

let lastNumber = 0;
/** An id that no other element has, for aria-controls and its kin. */
export const freshId = (prefix) => `${prefix}-${++lastNumber}`;

/** The dialog that lies on top, or the body: what is shown above the page must be inside it, or a modal dialog makes it inert. */
export const topLayer = (near) => near?.closest("dialog") ?? document.body;

/** Puts a floating element beside its anchor (above or below, wherever there is room) and inside the window. */
export function place(floating, anchor, { gap = 6, prefer = "below", align = "start" } = {}) {
  const at = anchor instanceof Element ? anchor.getBoundingClientRect() : new DOMRect(anchor.x, anchor.y, 0, 0);
  const { offsetWidth: width, offsetHeight: height } = floating;
  const margin = 8;
  const below = window.innerHeight - at.bottom - gap - margin;
  const above = at.top - gap - margin;
  const goesBelow = prefer === "below" ? below >= height || below >= above : above < height && below > above;
  const top = goesBelow ? at.bottom + gap : at.top - gap - height;
  const left = Math.min(align === "end" ? at.right - width : at.left, window.innerWidth - width - margin);
  floating.style.setProperty("left", `${Math.max(margin, left)}px`);
  floating.style.setProperty("top", `${Math.max(margin, Math.min(top, window.innerHeight - height - margin))}px`);
}
