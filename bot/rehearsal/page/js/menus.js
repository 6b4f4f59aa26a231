// The menus of a message and of a member: the apps' commands for it, and what anybody can do.

import { avatar } from "./avatar.js";
import { openMenu } from "./menu.js";
import { pickReaction } from "./reactions.js";
import { isEphemeral } from "./state.js";

const USER_COMMAND = 2;
const MESSAGE_COMMAND = 3;

function apps(type, targetId, { state, actions }) {
  const face = () => (state.bot ? avatar(state.bot, "tiny") : "spark");
  return {
    label: "Apps",
    items: state.commandsOf(type).map((command) => ({ label: command.name, icon: face(), hint: state.botOnline ? null : "The bot is offline", onSelect: () => actions.runOn(command, targetId) })),
  };
}

export function messageMenu(message, anchor, context) {
  const { state, actions } = context;
  const ephemeral = isEphemeral(message);
  const own = message.author.id === state.me?.id;
  const anything = { label: null, items: [] };
  if (message.content) anything.items.push({ label: "Copy text", icon: "copy", onSelect: () => actions.copy(message.content) });
  if (!ephemeral) anything.items.unshift({ label: "Add a reaction", icon: "smile", onSelect: () => pickReaction(message, anchor, context) });
  const end = { label: null, items: [] };
  if (ephemeral) end.items.push({ label: "Dismiss", icon: "close", onSelect: () => state.dismiss(message) });
  else if (own || state.me?.moderator) end.items.push({ label: "Delete message", icon: "trash", danger: true, onSelect: () => actions.remove(message) });
  openMenu([anything, ephemeral ? { label: "Apps", items: [] } : apps(MESSAGE_COMMAND, message.id, context), end], anchor, { label: "Message" });
}

export function memberMenu(member, anchor, context) {
  const { state, actions } = context;
  const groups = [apps(USER_COMMAND, member.id, context)];
  const own = { label: null, items: [] };
  if (!member.bot && member.id !== state.me?.id) own.items.push({ label: `Play ${member.display_name}`, icon: avatar(member, "tiny"), onSelect: () => actions.switchTo(member) });
  own.items.push({ label: "Copy name", icon: "copy", onSelect: () => actions.copy(member.username) });
  openMenu([...groups, own], anchor, { label: member.display_name });
}
