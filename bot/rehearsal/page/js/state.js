// What the page knows: who is who, channels, commands, messages, what is unread. No DOM here and no socket:
// app.js feeds it with answers and pushes, and the views listen to its events.
//
// Events, each with a detail:
//   "world"     {}                       everything was replaced (hello, switch of member, reconnect)
//   "channels"  {}                       a channel or thread came, went or changed, or what is unread did
//   "commands"  {}     "presence" {online}
//   "timeline"  {channelId}              a channel's messages were replaced
//   "older"     {channelId, messages}    older messages were put in front
//   "dismissed" {}                       an ephemeral message was put away
//   "message"   {kind: "create" | "update" | "delete", channelId, message}

import { compareIds } from "./snowflake.js";

export const FLAG = { EPHEMERAL: 1 << 6, LOADING: 1 << 7, COMPONENTS_V2: 1 << 15 };
const THREAD_TYPES = new Set([10, 11, 12]);
const TEXT_TYPES = new Set([0, 5, 10, 11, 12]);

export const isThread = (channel) => THREAD_TYPES.has(channel.type);
export const isEphemeral = (message) => Boolean((message.flags ?? 0) & FLAG.EPHEMERAL);
export const isLoading = (message) => Boolean((message.flags ?? 0) & FLAG.LOADING);

/** Whether two Discord emoji objects are the same one. */
export const sameEmoji = (a, b) => (a.id ?? null) === (b.id ?? null) && (a.id ? true : a.name === b.name);

export class State extends EventTarget {
  me = null;
  guild = null;
  members = new Map(); // user id -> Member
  roles = new Map(); // role id -> {id, name}
  channels = new Map(); // channel id -> Channel
  commands = []; // ApplicationCommand
  botOnline = true;
  uploadLimit = 0; // bytes a file; 0: unknown
  channelId = null; // the channel that is looked at
  timelines = new Map(); // channel id -> {messages: [Message] oldest first, complete: bool}
  unread = new Map(); // channel id -> {count, firstId}
  dismissed; // ids of ephemeral messages that were put away

  constructor(dismissed = []) {
    super();
    this.dismissed = new Set(dismissed);
  }

  #emit(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  // ---- the world ----

  /** Takes the answer to hello or switch. What another member saw is forgotten. */
  welcome(answer) {
    const sameMember = this.me?.id === answer.me.id;
    // After a lost line the channel stays as it was until its messages are fetched anew.
    const shown = sameMember ? this.timeline(this.channelId) : null;
    if (!sameMember) this.unread.clear();
    this.me = answer.me;
    this.guild = answer.guild;
    this.members = new Map(answer.members.map((member) => [member.id, member]));
    this.roles = new Map((answer.roles ?? []).map((role) => [role.id, role]));
    this.channels = new Map(answer.channels.map((channel) => [channel.id, channel]));
    this.commands = answer.commands ?? [];
    this.botOnline = answer.bot_online ?? true;
    this.uploadLimit = answer.upload_limit ?? 0;
    this.timelines.clear();
    if (!this.channels.has(this.channelId)) this.channelId = this.textChannels()[0]?.id ?? null;
    else if (shown) this.timelines.set(this.channelId, shown);
    this.#emit("world");
  }

  /** Text channels in their order, each followed by its threads. */
  textChannels() {
    const all = [...this.channels.values()].filter((channel) => TEXT_TYPES.has(channel.type));
    const parents = all.filter((channel) => !isThread(channel)).sort((a, b) => (a.position ?? 0) - (b.position ?? 0) || compareIds(a.id, b.id));
    return parents.flatMap((parent) => [
      parent,
      ...all.filter((channel) => isThread(channel) && channel.parent_id === parent.id).sort((a, b) => compareIds(a.id, b.id)),
    ]);
  }

  get channel() {
    return this.channels.get(this.channelId) ?? null;
  }

  /** The member behind a user object of Discord's; falls back to what the object itself says. */
  member(user) {
    const known = this.members.get(user?.id);
    if (known) return known;
    return { id: user?.id, username: user?.username ?? "someone", display_name: user?.global_name ?? user?.username ?? "someone", avatar_url: null, roles: [], moderator: false, bot: user?.bot ?? false, color: null };
  }

  /** Everyone who can be played. */
  get cast() {
    return [...this.members.values()].filter((member) => !member.bot);
  }

  get bot() {
    return [...this.members.values()].find((member) => member.bot) ?? null;
  }

  /** Commands of a kind (1 slash, 2 user, 3 message). Whether a member may use one is the stage's to say, as it is Discord's. */
  commandsOf(type) {
    return this.commands.filter((command) => (command.type ?? 1) === type);
  }

  lookAt(channelId) {
    this.channelId = channelId;
    this.#emit("channels");
  }

  // ---- messages ----

  timeline(channelId) {
    return this.timelines.get(channelId) ?? null;
  }

  visible(message) {
    return !this.dismissed.has(message.id);
  }

  setTimeline(channelId, messages, complete) {
    this.timelines.set(channelId, { messages: messages.filter((message) => this.visible(message)), complete });
    this.#emit("timeline", { channelId });
  }

  addOlder(channelId, messages, complete) {
    const timeline = this.timelines.get(channelId);
    if (!timeline) return;
    const known = new Set(timeline.messages.map((message) => message.id));
    const fresh = messages.filter((message) => !known.has(message.id) && this.visible(message));
    timeline.messages.unshift(...fresh);
    timeline.complete = complete;
    this.#emit("older", { channelId, messages: fresh });
  }

  find(channelId, messageId) {
    return this.timelines.get(channelId)?.messages.find((message) => message.id === messageId) ?? null;
  }

  dismiss(message) {
    this.dismissed.add(message.id);
    this.#remove(message.channel_id, message.id);
    this.#emit("dismissed");
  }

  /** A deferred answer that will not come any more: its time is over. */
  giveUp(messageId) {
    for (const [channelId, { messages }] of this.timelines) {
      if (messages.some((message) => message.id === messageId && isLoading(message))) this.#update({ id: messageId, channel_id: channelId, interaction_failed: true });
    }
  }

  #create(message) {
    const timeline = this.timelines.get(message.channel_id);
    if (!this.visible(message)) return;
    if (timeline) {
      if (timeline.messages.some((other) => other.id === message.id)) {
        this.#update(message);
        return;
      }
      timeline.messages.push(message);
    }
    const channel = this.channels.get(message.channel_id);
    if (channel) channel.last_message_id = message.id;
    this.#emit("message", { kind: "create", channelId: message.channel_id, message });
  }

  #update(change) {
    const timeline = this.timelines.get(change.channel_id);
    const index = timeline?.messages.findIndex((message) => message.id === change.id) ?? -1;
    if (index < 0) {
      // Discord makes an ephemeral 'thinking' message known by its first edit alone, in some orders of events.
      if (change.author && change.timestamp) this.#create(change);
      return;
    }
    const message = { ...timeline.messages[index], ...change };
    timeline.messages[index] = message;
    this.#emit("message", { kind: "update", channelId: change.channel_id, message });
  }

  #remove(channelId, messageId) {
    const timeline = this.timelines.get(channelId);
    const message = this.find(channelId, messageId);
    if (!message) return;
    timeline.messages = timeline.messages.filter((other) => other.id !== messageId);
    this.#emit("message", { kind: "delete", channelId, message });
  }

  #react(data, change) {
    const message = this.find(data.channel_id, data.message_id);
    if (!message) return;
    const reactions = (message.reactions ?? []).map((reaction) => ({ ...reaction }));
    change(reactions);
    this.#update({ id: message.id, channel_id: data.channel_id, reactions: reactions.filter((reaction) => reaction.count > 0) });
  }

  #setReaction(data) {
    this.#react(data, (reactions) => {
      const known = reactions.find((reaction) => sameEmoji(reaction.emoji, data.emoji));
      if (known) Object.assign(known, { count: data.count, me: data.me });
      else reactions.push({ emoji: data.emoji, count: data.count, me: data.me });
    });
  }

  // ---- unread ----

  markUnread(channelId, messageId) {
    const unread = this.unread.get(channelId) ?? { count: 0, firstId: messageId };
    unread.count += 1;
    this.unread.set(channelId, unread);
    this.#emit("channels");
  }

  markRead(channelId) {
    if (this.unread.delete(channelId)) this.#emit("channels");
  }

  get unreadTotal() {
    return [...this.unread.values()].reduce((sum, { count }) => sum + count, 0);
  }

  // ---- pushes ----

  /** Takes one push of the stage's. Those that are not about state (INTERACTION, MODAL) are app.js's. */
  push(kind, data) {
    switch (kind) {
      case "MESSAGE_CREATE":
        return this.#create(data);
      case "MESSAGE_UPDATE":
        return this.#update(data);
      case "MESSAGE_DELETE":
        return this.#remove(data.channel_id, data.id);
      case "MESSAGE_DELETE_BULK":
        return data.ids.forEach((id) => this.#remove(data.channel_id, id));
      case "MESSAGE_REACTION_ADD":
      case "MESSAGE_REACTION_REMOVE":
        return this.#setReaction(data);
      case "MESSAGE_REACTION_REMOVE_ALL":
        return this.#react(data, (reactions) => reactions.splice(0));
      case "MESSAGE_REACTION_REMOVE_EMOJI":
        return this.#react(data, (reactions) => reactions.forEach((reaction) => sameEmoji(reaction.emoji, data.emoji) && (reaction.count = 0)));
      case "CHANNEL_CREATE":
      case "CHANNEL_UPDATE":
      case "THREAD_CREATE":
      case "THREAD_UPDATE":
        this.channels.set(data.id, { ...this.channels.get(data.id), ...data });
        return this.#emit("channels");
      case "CHANNEL_DELETE":
      case "THREAD_DELETE":
        this.channels.delete(data.id);
        if (this.channelId === data.id) this.channelId = data.parent_id ?? this.textChannels()[0]?.id ?? null;
        return this.#emit("channels");
      case "COMMANDS":
        this.commands = data;
        return this.#emit("commands");
      case "BOT_PRESENCE":
        this.botOnline = data.online;
        return this.#emit("presence", { online: data.online });
      default:
        return undefined;
    }
  }
}
