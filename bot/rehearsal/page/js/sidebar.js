// The left column: channels with their threads and what is unread, and the members that one can play. The right column: who is here.

import { avatar, coloredName } from "./avatar.js";
import { byId, fill, h } from "./dom.js";
import { icon } from "./icons.js";
import { memberMenu } from "./menus.js";
import { isThread } from "./state.js";

const ID_LIKE = /^\d+$/;

/** A member's part in words: roles that have names, or that it moderates. */
export function partOf(member) {
  const named = (member.roles ?? []).filter((role) => typeof role === "string" && !ID_LIKE.test(role) && role !== "@everyone");
  if (named.length) return named.join(", ");
  return member.moderator ? "Moderator" : "Member";
}

export function drawChannels({ state, actions }, closeDrawer) {
  byId("guild-name").textContent = state.guild?.name ?? "";
  const entry = (channel) => {
    const unread = state.unread.get(channel.id)?.count ?? 0;
    const current = channel.id === state.channelId;
    return h("li", {}, h("button.channel", {
      type: "button",
      class: `${isThread(channel) ? "channel-thread" : ""} ${unread ? "channel-unread" : ""}`,
      "aria-current": current ? "page" : null,
      dataset: { channel: channel.name, focus: channel.id },
      onclick: () => {
        actions.lookAt(channel.id);
        closeDrawer();
      },
    }, icon(isThread(channel) ? "thread" : "hash"), h("span.channel-name", {}, channel.name), unread ? h("span.count", { "aria-label": `${unread} unread` }, unread > 99 ? "99+" : unread) : null));
  };
  const holder = byId("channels");
  const focused = holder.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
  fill(holder, h("h2.list-title", {}, "Channels"), h("ul.channel-list", {}, state.textChannels().map(entry)));
  if (focused) holder.querySelector(`[data-focus="${focused}"]`)?.focus();
}

/** The switch between members: radio buttons, so that arrows and screen readers know what to do. */
export function drawCast({ state, actions }) {
  fill(byId("cast"), state.cast.map((member) => {
    const input = h("input.visually-hidden", { type: "radio", name: "cast", value: member.username, "aria-label": `${member.display_name}, ${partOf(member)}`, onchange: () => actions.switchTo(member) });
    input.checked = member.id === state.me?.id;
    return h("label.cast-member", { title: `${member.display_name}: ${partOf(member)}` }, input, avatar(member), h("span.cast-name", {}, member.display_name), h("small.cast-part", {}, partOf(member)));
  }));
}

export function drawMembers(context) {
  const { state } = context;
  const row = (member) => {
    const open = (anchor) => memberMenu(member, anchor, context);
    const offline = member.bot && !state.botOnline;
    return h("li", {}, h("button.member", {
      type: "button",
      class: offline ? "member-offline" : "",
      "aria-haspopup": "menu",
      onclick: (event) => open(event.currentTarget),
      oncontextmenu: (event) => {
        event.preventDefault();
        open({ x: event.clientX, y: event.clientY });
      },
    },
    h("span.face", {}, avatar(member), h("span.presence", { class: offline ? "presence-off" : "" })),
    h("span.member-text", {}, h("span.member-name", {}, coloredName(member)), h("small", {}, memberNote(member, state))),
    ));
  };
  const people = state.cast;
  const apps = [...state.members.values()].filter((member) => member.bot);
  const section = (title, list) => (list.length ? [h("h2.list-title", {}, `${title}: ${list.length}`), h("ul.member-list", {}, list.map(row))] : []);
  fill(byId("members"), section("Here", people), section("Apps", apps));
}

function memberNote(member, state) {
  if (member.bot) return state.botOnline ? "Online" : "Offline";
  return member.id === state.me?.id ? `You play · ${partOf(member)}` : partOf(member);
}
