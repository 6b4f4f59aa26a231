// A menu that opens at the pointer or beside a button, and as a sheet from below on a phone. What is in it is menus.js's business.

import { h, place, topLayer } from "./dom.js";
import { icon } from "./icons.js";

const NARROW = matchMedia("(max-width: 720px)");

let closeOpen = null;

/**
 * groups: [{label: string | null, items: [{label, icon, hint, danger, disabled, onSelect}]}]
 * anchor: an element or {x, y}.
 */
export function openMenu(groups, anchor, { label }) {
  closeOpen?.(false);
  const opener = document.activeElement;
  const menu = h("div.menu", { role: "menu", "aria-label": label, tabindex: "-1" });
  const layer = h("div.menu-layer", {}, menu);
  const close = (giveFocusBack = true) => {
    layer.remove();
    closeOpen = null;
    if (giveFocusBack && opener?.isConnected) opener.focus({ preventScroll: true });
  };
  closeOpen = close;

  for (const group of groups.filter(({ items }) => items.length)) {
    const buttons = group.items.map((item) => menuItem(item, close));
    menu.append(h("div.menu-group", { role: "group", "aria-label": group.label }, group.label ? h("p.menu-label", { "aria-hidden": "true" }, group.label) : null, buttons));
  }
  layer.addEventListener("pointerdown", (event) => event.target === layer && close());
  // A long press may send its contextmenu event after the menu is open: it must neither close it nor open the browser's own.
  layer.addEventListener("contextmenu", (event) => event.preventDefault());
  menu.addEventListener("keydown", (event) => onKey(event, menu, close));

  topLayer(anchor instanceof Element ? anchor : null).append(layer);
  if (NARROW.matches) layer.classList.add("menu-sheet");
  else place(menu, anchor, { gap: 4 });
  menu.querySelector("[role=menuitem]:not([aria-disabled])")?.focus({ preventScroll: true });
}

function menuItem(item, close) {
  return h("button.menu-item", {
    type: "button", role: "menuitem", tabindex: "-1",
    class: item.danger ? "menu-danger" : "",
    "aria-disabled": item.disabled ? "true" : null,
    onclick: () => {
      if (item.disabled) return;
      close();
      item.onSelect();
    },
  }, item.icon instanceof Node ? item.icon : icon(item.icon), h("span.menu-text", {}, h("span", {}, item.label), item.hint ? h("small", {}, item.hint) : null));
}

function onKey(event, menu, close) {
  const items = [...menu.querySelectorAll("[role=menuitem]:not([aria-disabled])")];
  const at = items.indexOf(document.activeElement);
  const targets = { ArrowDown: (at + 1) % items.length, ArrowUp: (at - 1 + items.length) % items.length, Home: 0, End: items.length - 1 };
  if (event.key in targets) {
    event.preventDefault();
    items[targets[event.key]]?.focus();
  } else if (event.key === "Escape" || event.key === "Tab") {
    event.preventDefault();
    event.stopPropagation();
    close();
  } else if (event.key.length === 1 && event.key !== " ") {
    const rest = [...items.slice(at + 1), ...items.slice(0, at + 1)];
    rest.find((item) => item.textContent.trim().toLowerCase().startsWith(event.key.toLowerCase()))?.focus();
  }
}

const LONG_PRESS_MS = 500;
const LONG_PRESS_SLOP_PX = 10;

/** Turns a long press of a finger into a contextmenu event, for browsers that send none (Safari on a phone). */
export function longPressOpensMenu(root) {
  let timer = null;
  let start = null;
  let held = false;
  const cancel = () => clearTimeout(timer);
  root.addEventListener("pointerdown", (event) => {
    cancel();
    if (event.pointerType !== "touch") return;
    start = { x: event.clientX, y: event.clientY, target: event.target };
    timer = setTimeout(() => {
      held = true;
      start.target.dispatchEvent(new MouseEvent("contextmenu", { bubbles: true, cancelable: true, clientX: start.x, clientY: start.y }));
    }, LONG_PRESS_MS);
  });
  root.addEventListener("pointermove", (event) => {
    if (start && Math.hypot(event.clientX - start.x, event.clientY - start.y) > LONG_PRESS_SLOP_PX) cancel();
  });
  // The finger that opened the menu must not press what came up under it.
  root.addEventListener("touchend", (event) => {
    if (held && event.cancelable) event.preventDefault();
    held = false;
  });
  for (const type of ["pointerup", "pointercancel", "contextmenu"]) root.addEventListener(type, cancel);
}
