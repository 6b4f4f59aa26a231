// Interactions on their way: from the press of a button or a command to the bot's answer. Discord gives the bot three seconds; the stage
// tells how it went (INTERACTION pushes). The log shows what waits and what failed; components.js shows a busy button.

import { makeNonce } from "./snowflake.js";

const FAILED_FOR_MS = 20_000;

/** Event "change" with detail {entry}: entry = {nonce, kind, channelId, label, messageId, customId, state: "sent" | "failed" | "done", error}. */
export class Interactions extends EventTarget {
  #entries = new Map(); // nonce -> entry

  /** Notes a new one; returns its nonce. */
  start({ kind, channelId, label = "", messageId = null, customId = null }) {
    const nonce = makeNonce();
    this.#entries.set(nonce, { nonce, kind, channelId, label, messageId, customId, state: "sent", error: "" });
    this.#changed(nonce);
    return nonce;
  }

  /** It has its answer (or it never left): nothing more to show. */
  finish(nonce) {
    const entry = this.#entries.get(nonce);
    if (!entry) return;
    this.#entries.delete(nonce);
    entry.state = "done";
    this.dispatchEvent(new CustomEvent("change", { detail: { entry } }));
  }

  fail(nonce, error = "") {
    const entry = this.#entries.get(nonce);
    if (!entry) return;
    entry.state = "failed";
    entry.error = error;
    this.#changed(nonce);
    // A failed button says so for a while; a failed command stays until it is put away.
    if (entry.messageId) setTimeout(() => this.finish(nonce), FAILED_FOR_MS);
  }

  /** Takes an INTERACTION push. */
  receive({ nonce, state, error }) {
    if (state === "answered" || state === "thinking") this.finish(nonce);
    if (state === "failed") this.fail(nonce, error);
  }

  /** The commands of a channel that wait or failed, oldest first. */
  ofChannel(channelId) {
    return [...this.#entries.values()].filter((entry) => entry.channelId === channelId && !entry.messageId);
  }

  /** What happens on a message: {busy: [custom ids], failed: bool}. */
  ofMessage(messageId) {
    const own = [...this.#entries.values()].filter((entry) => entry.messageId === messageId);
    return { busy: own.filter((entry) => entry.state === "sent").map((entry) => entry.customId), failed: own.some((entry) => entry.state === "failed") };
  }

  /** The line is gone: what waited will not be told any more. */
  forget() {
    for (const nonce of [...this.#entries.keys()]) this.finish(nonce);
  }

  #changed(nonce) {
    this.dispatchEvent(new CustomEvent("change", { detail: { entry: this.#entries.get(nonce) } }));
  }
}
