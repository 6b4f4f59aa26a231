// Selects of messages and modals: a button that opens a list. Strings, members and channels.

import { avatar } from "./avatar.js";
import { fill, freshId, h, place, topLayer } from "./dom.js";
import { icon } from "./icons.js";
import { Listbox } from "./listbox.js";

const CHANNEL_SELECT = 8;
const PEOPLE_SELECTS = new Set([5, 7]);

/** What a select offers: [{label, value, description, icon}]. */
function choices(component, { state }) {
  if (component.options) {
    return component.options.map((option) => ({
      label: option.label, value: option.value, description: option.description,
      icon: option.emoji ? h("span.option-emoji", { "aria-hidden": "true" }, option.emoji.id ? `:${option.emoji.name}:` : option.emoji.name) : null,
    }));
  }
  if (PEOPLE_SELECTS.has(component.type)) return [...state.members.values()].map((member) => ({ label: member.display_name, value: member.id, description: member.username, icon: avatar(member, "small") }));
  if (component.type === CHANNEL_SELECT) return state.textChannels().map((channel) => ({ label: channel.name, value: channel.id, icon: icon("hash") }));
  return [];
}

/**
 * Draws a select. Returns {element, values(): [value]}.
 * onCommit(values) is called when a choice is made (one value), or when the list closes with other values than before (several).
 */
export function selectField(component, context, { disabled = false, onCommit = () => {}, labelledBy = null } = {}) {
  const offered = choices(component, context);
  const least = component.min_values ?? 1;
  const most = component.max_values ?? 1;
  const many = most > 1;
  const chosen = new Set([...(component.options ?? []).filter((option) => option.default).map((option) => option.value), ...(component.default_values ?? []).map(({ id }) => id)]);
  const face = h("span.select-face");
  const valueId = freshId("select");
  face.id = valueId;
  const button = h("button.select", { type: "button", disabled, "aria-haspopup": "listbox", "aria-expanded": "false", "aria-labelledby": labelledBy ? `${labelledBy} ${valueId}` : null, dataset: { focus: component.custom_id } }, face, icon("down"));
  const placeholder = component.placeholder ?? "Make a selection";

  const showFace = () => {
    const picked = offered.filter((item) => chosen.has(item.value));
    fill(face, picked.length ? picked.map((item) => item.label).join(", ") : h("span.select-placeholder", {}, placeholder));
  };

  const open = () => {
    const before = [...chosen].sort().join("\n");
    const list = new Listbox({ label: placeholder, owner: button, multiple: many, onPick: (item) => pick(item) });
    const done = many ? h("button.button.button-primary.select-done", { type: "button", onclick: () => close() }, "Done") : null;
    const box = h("div.select-popup", {}, list.element, done);
    const draw = (active) => list.show(offered.map((item) => ({ ...item, selected: chosen.has(item.value), disabled: many && !chosen.has(item.value) && chosen.size >= most, hint: chosen.has(item.value) ? "✓" : null })), active);
    const pick = (item) => {
      if (many) {
        if (!chosen.delete(item.value)) chosen.add(item.value);
        draw(offered.findIndex((other) => other.value === item.value));
      } else {
        chosen.clear();
        chosen.add(item.value);
        close();
      }
    };
    const close = () => {
      box.remove();
      document.removeEventListener("pointerdown", outside, true);
      button.removeEventListener("keydown", onKey);
      button.setAttribute("aria-expanded", "false");
      button.removeAttribute("aria-activedescendant");
      showFace();
      button.focus({ preventScroll: true });
      // Picking the same single value again is a choice too, as it is on Discord.
      if (chosen.size >= least && (!many || [...chosen].sort().join("\n") !== before)) onCommit([...chosen]);
    };
    const cancel = () => {
      chosen.clear();
      before.split("\n").filter(Boolean).forEach((value) => chosen.add(value));
      box.remove();
      document.removeEventListener("pointerdown", outside, true);
      button.removeEventListener("keydown", onKey);
      button.setAttribute("aria-expanded", "false");
      showFace();
    };
    const outside = (event) => {
      if (box.contains(event.target)) return;
      if (many) close();
      else cancel();
      // The click that closes the list must not open it again.
      if (button.contains(event.target)) button.addEventListener("click", (click) => click.stopImmediatePropagation(), { once: true, capture: true });
    };
    const onKey = (event) => {
      if (list.move(event.key)) event.preventDefault();
      else if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        list.pick();
      } else if (event.key === "Escape") {
        event.preventDefault();
        event.stopPropagation();
        if (many) close();
        else cancel();
      } else if (event.key === "Tab") cancel();
    };
    topLayer(button).append(box);
    box.style.setProperty("min-width", `${button.offsetWidth}px`);
    draw(Math.max(0, offered.findIndex((item) => chosen.has(item.value))));
    place(box, button);
    button.setAttribute("aria-expanded", "true");
    button.setAttribute("aria-controls", list.id);
    button.addEventListener("keydown", onKey);
    document.addEventListener("pointerdown", outside, true);
  };

  button.addEventListener("click", () => button.getAttribute("aria-expanded") !== "true" && open());
  showFace();
  return { element: h("div.select-field", {}, button), values: () => [...chosen], focus: () => button.focus() };
}
