// The line to the stage: one WebSocket that comes back by itself. Requests are numbered and answered; pushes are events.
//
//   {"id": 7, "op": "react", …}  ->  {"reply": 7, "ok": true, …} | {"reply": 7, "ok": false, "error": "words"}
//   {"push": "MESSAGE_CREATE", "data": {…}}
//
// What the messages mean is state.js's business.

/** A request that was refused or lost; the message is for a person. */
export class RequestError extends Error {}

const ANSWER_WITHIN_MS = 30_000;
const RETRY_MS = [400, 800, 1500, 3000, 5000];

// The stage's words are parts of sentences.
const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1) + (/[.!?…]$/.test(words) ? "" : ".");

/** Events: "open" (say hello now), "lost" (the line is gone and is tried again), "push" with detail {push, data}. */
export class Socket extends EventTarget {
  #url;
  #socket = null;
  #next = 1;
  #waiting = new Map(); // request id -> {resolve, reject, timer}
  #attempt = 0;
  #timer = null;

  constructor(url) {
    super();
    this.#url = url;
  }

  get connected() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  connect() {
    clearTimeout(this.#timer);
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.addEventListener("open", () => {
      this.#attempt = 0;
      this.dispatchEvent(new Event("open"));
    });
    socket.addEventListener("message", (event) => this.#receive(event.data));
    socket.addEventListener("close", () => this.#lost(socket));
  }

  /** Tries at once instead of waiting for the next turn. */
  retryNow() {
    if (this.#socket?.readyState === WebSocket.CLOSED) this.connect();
  }

  /** Sends an operation; resolves with the answer, rejects with a RequestError. */
  request(op, fields = {}) {
    return new Promise((resolve, reject) => {
      if (!this.connected) {
        reject(new RequestError("There is no connection to the rehearsal at the moment."));
        return;
      }
      const id = this.#next++;
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new RequestError("The rehearsal did not answer."));
      }, ANSWER_WITHIN_MS);
      this.#waiting.set(id, { resolve, reject, timer });
      this.#socket.send(JSON.stringify({ id, op, ...fields }));
    });
  }

  #receive(text) {
    const frame = JSON.parse(text);
    if ("push" in frame) {
      this.dispatchEvent(new CustomEvent("push", { detail: frame }));
      return;
    }
    const waiting = this.#waiting.get(frame.reply);
    if (!waiting) return;
    this.#waiting.delete(frame.reply);
    clearTimeout(waiting.timer);
    if (frame.ok) waiting.resolve(frame);
    else waiting.reject(new RequestError(sentence(frame.error || "the rehearsal refused, without saying why")));
  }

  #lost(socket) {
    if (socket !== this.#socket) return;
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(new RequestError("The connection was lost before the rehearsal answered."));
    }
    this.#waiting.clear();
    this.dispatchEvent(new Event("lost"));
    const delay = RETRY_MS[Math.min(this.#attempt++, RETRY_MS.length - 1)];
    this.#timer = setTimeout(() => this.connect(), delay);
  }
}
