// A member's face: the picture, or initials on the member's own colour; names in that colour.

import { h } from "./dom.js";
import { icon } from "./icons.js";

const COLORS = ["#e8517a", "#ff9a62", "#b57bff", "#4fc3d9", "#e2b84a", "#6fcf8e"];

const colorOf = (member) => member.color ?? COLORS[Number(String(member.id ?? "0").slice(-4)) % COLORS.length];

/** For the eye only: the name stands beside it. */
export function avatar(member, size = "") {
  const style = { "--member": colorOf(member) };
  const kind = size ? `avatar-${size}` : "";
  if (member.avatar_url) return h("img.avatar", { class: kind, src: member.avatar_url, alt: "", style, draggable: "false" });
  if (member.bot) return h("span.avatar.avatar-bot", { class: kind, style, "aria-hidden": "true" }, icon("spark"));
  const initials = member.display_name.split(/[\s_]+/).slice(0, 2).map((word) => [...word][0] ?? "").join("");
  return h("span.avatar", { class: kind, style, "aria-hidden": "true" }, initials.toUpperCase());
}

/** The name as text in the member's colour. */
export const coloredName = (member, tag = "span") => h(`${tag}.name`, { style: { "--member": colorOf(member) } }, member.display_name);

/** The mark that a bot carries beside its name. */
export const appBadge = (member) => (member.bot ? h("span.badge", { title: "An app, not a person" }, "App") : null);
