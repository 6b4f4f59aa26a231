// Everything a person can do, as one method each. Each tells the stage and, when it is refused, says why in a toast;
// what changes comes back as a push and is state.js's.

import { uploadAll, upload } from "./uploads.js";

const PAGE_SIZE = 50; // messages fetched at once

export class Actions {
  #state;
  #socket;
  #interactions;
  #toasts;
  #loading = new Set(); // channel ids whose history is on its way

  /** prefill is set by the composer: text for the message field, a whole command for instance. */
  prefill = () => {};
  /** jumpTo is set by the log: scrolls to a message; false when it is not loaded. */
  jumpTo = () => false;

  constructor({ state, socket, interactions, toasts }) {
    this.#state = state;
    this.#socket = socket;
    this.#interactions = interactions;
    this.#toasts = toasts;
  }

  // ---- who and where ----

  async hello(username, op = "hello") {
    const answer = await this.#socket.request(op, { member: username });
    this.#state.welcome(answer);
    await this.#fetch(this.#state.channelId);
  }

  async switchTo(member) {
    if (member.id === this.#state.me?.id) return;
    await this.#try(() => this.hello(member.username, "switch"));
  }

  async lookAt(channelId) {
    if (!this.#state.channels.has(channelId) || channelId === this.#state.channelId) return;
    this.#state.lookAt(channelId);
    if (!this.#state.timeline(channelId)) await this.#try(() => this.#fetch(channelId));
  }

  /** Shows a message of any channel, where it is among those that are loaded. */
  async goTo(channelId, messageId) {
    await this.lookAt(channelId);
    if (messageId && !this.jumpTo(messageId)) this.#toasts.say("That message is further up, or gone.");
  }

  async #fetch(channelId) {
    if (!channelId) return;
    const { messages } = await this.#socket.request("history", { channel_id: channelId, before: null, limit: PAGE_SIZE });
    this.#state.setTimeline(channelId, messages, messages.length < PAGE_SIZE);
  }

  /** Fetches what lies before the oldest message shown. */
  async loadOlder(channelId) {
    const timeline = this.#state.timeline(channelId);
    const oldest = timeline?.messages[0];
    if (!oldest || timeline.complete || this.#loading.has(channelId)) return;
    this.#loading.add(channelId);
    try {
      const { messages } = await this.#socket.request("history", { channel_id: channelId, before: oldest.id, limit: PAGE_SIZE });
      this.#state.addOlder(channelId, messages, messages.length < PAGE_SIZE);
    } catch (error) {
      this.#toasts.error(error.message);
    } finally {
      this.#loading.delete(channelId);
    }
  }

  // ---- messages ----

  /** Sends a message; true when it is sent. */
  send(channelId, content, files) {
    return this.#try(async () => {
      const uploads = await uploadAll(files, this.#state.uploadLimit);
      await this.#socket.request("send", { channel_id: channelId, content, uploads });
    });
  }

  react(message, emoji, on) {
    const name = emoji.id ? `${emoji.name}:${emoji.id}` : emoji.name;
    return this.#try(() => this.#socket.request("react", { channel_id: message.channel_id, message_id: message.id, emoji: name, on }));
  }

  remove(message) {
    return this.#try(() => this.#socket.request("delete", { channel_id: message.channel_id, message_id: message.id }));
  }

  async copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      this.#toasts.say("Copied.");
    } catch {
      this.#toasts.error("The browser does not let this page copy.");
    }
  }

  // ---- interactions ----

  /** Runs a slash command. options: {name: string | number | boolean | File}; true when the stage took it. */
  slash({ command, path, options }) {
    const channelId = this.#state.channelId;
    return this.#try(async () => {
      const values = {};
      for (const [name, value] of Object.entries(options)) {
        values[name] = value instanceof File ? { upload_id: await upload(value, this.#state.uploadLimit) } : value;
      }
      await this.#interact("slash", { channelId, label: `/${path.join(" ")}` }, { channel_id: channelId, command_id: command.id, path, options: values });
    });
  }

  /** Runs a command of the Apps menu on a message or a member. */
  runOn(command, targetId) {
    const channelId = this.#state.channelId;
    return this.#try(() => this.#interact("context", { channelId, label: command.name }, { channel_id: channelId, command_id: command.id, target_id: targetId }));
  }

  /** Asks the bot for suggestions; none when it does not answer. */
  async autocomplete({ command, path, options, focused }) {
    const answer = await this.#socket
      .request("autocomplete", { channel_id: this.#state.channelId, command_id: command.id, path, options, focused })
      .catch(() => ({ choices: [] }));
    return answer.choices ?? [];
  }

  click(message, customId) {
    const fields = { channel_id: message.channel_id, message_id: message.id, custom_id: customId };
    return this.#try(() => this.#interact("click", { channelId: message.channel_id, messageId: message.id, customId }, fields));
  }

  select(message, customId, values) {
    const fields = { channel_id: message.channel_id, message_id: message.id, custom_id: customId, values };
    return this.#try(() => this.#interact("select", { channelId: message.channel_id, messageId: message.id, customId }, fields));
  }

  /** Submits a modal. fields: {custom id: string | [value] | [File]}. Throws what was refused, for the modal to show. */
  async submitModal(modal, fields) {
    const channelId = this.#state.channelId;
    const values = {};
    for (const [customId, value] of Object.entries(fields)) {
      const isFiles = value?.files instanceof Array;
      values[customId] = isFiles ? { upload_ids: await uploadAll(value.files, this.#state.uploadLimit) } : value;
    }
    await this.#interact("modal_submit", { channelId, label: modal.title }, {
      channel_id: channelId,
      interaction_id: modal.interaction_id,
      custom_id: modal.custom_id,
      fields: values,
    });
  }

  async #interact(op, about, fields) {
    const nonce = this.#interactions.start({ kind: op, ...about });
    try {
      await this.#socket.request(op, { ...fields, nonce });
    } catch (error) {
      this.#interactions.finish(nonce);
      throw error;
    }
  }

  async #try(work) {
    try {
      await work();
      return true;
    } catch (error) {
      this.#toasts.error(error.message);
      return false;
    }
  }
}
