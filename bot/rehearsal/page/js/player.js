// The audio player: play, a waveform that can be scrubbed, time, volume, download. One plays at a time.
//
// The file is fetched once it comes into view: its bytes feed both the waveform and the sound (from a blob, so that seeking works whatever
// the server can do). A file that can't be decoded for the picture still plays, over a plain line.

import { fill, h } from "./dom.js";
import { icon } from "./icons.js";
import { recall, remember } from "./memory.js";
import { minutes } from "./time.js";
import { fileSize } from "./uploads.js";
import { drawWaveform, readWaveform } from "./waveform.js";

const DECODE_LIMIT_BYTES = 16 * 1024 * 1024; // beyond this the waveform would cost more memory than it is worth
const STEP_S = 1;
const BIG_STEP_S = 5;

/** What all players share: which one plays, how loud, and one decoding at a time. */
export class Jukebox {
  #players = new Set();
  #playing = null;
  #queue = Promise.resolve();
  #volume = Math.min(1, Math.max(0, Number(recall("volume", 0.8)) || 0));

  get volume() {
    return this.#volume;
  }

  set volume(value) {
    this.#volume = value;
    remember("volume", value);
    for (const player of this.#players) player.applyVolume();
  }

  add(player) {
    this.#players.add(player);
  }

  /** The one that starts silences the one that plays. */
  starts(player) {
    if (this.#playing !== player) this.#playing?.pause();
    this.#playing = player;
  }

  /** Does heavy work one after another. */
  inTurn(work) {
    const turn = this.#queue.then(work, work);
    this.#queue = turn.catch(() => {});
    return turn;
  }

  /** Lets go of players that are no longer on the page. */
  sweep() {
    for (const player of this.#players) {
      if (player.element.isConnected) continue;
      player.release();
      this.#players.delete(player);
    }
  }
}

export function audioPlayer(attachment, { jukebox }) {
  const player = new Player(attachment, jukebox);
  jukebox.add(player);
  return player.element;
}

class Player {
  #attachment;
  #jukebox;
  #audio = new Audio();
  #levels = null;
  #duration;
  #hover = 0;
  #blobUrl = null;
  #loading = null;
  #frame = 0;

  constructor(attachment, jukebox) {
    this.#attachment = attachment;
    this.#jukebox = jukebox;
    this.#duration = attachment.duration_secs ?? 0;
    this.#audio.preload = "metadata";
    this.#build();
    this.#listen();
    this.applyVolume();
    this.#paint();
  }

  pause() {
    this.#audio.pause();
  }

  applyVolume() {
    this.#audio.volume = this.#jukebox.volume;
    fill(this.muteButton, icon(this.#jukebox.volume > 0 ? "volume" : "muted"));
    this.muteButton.setAttribute("aria-pressed", String(this.#jukebox.volume === 0));
    this.volumeSlider.value = String(Math.round(this.#jukebox.volume * 100));
  }

  /** Stops, and gives the bytes back. A player that is shown again loads anew. */
  release() {
    this.#audio.pause();
    this.#audio.removeAttribute("src");
    if (this.#blobUrl) URL.revokeObjectURL(this.#blobUrl);
    this.#blobUrl = null;
    this.#loading = null;
  }

  #build() {
    const { filename, url, size } = this.#attachment;
    this.playButton = h("button.player-play", { type: "button", dataset: { focus: `play-${this.#attachment.id}` }, onclick: () => this.#toggle() });
    this.canvas = h("canvas.player-wave", { "aria-hidden": "true" });
    this.slider = h("div.player-scrub", { role: "slider", tabindex: "0", "aria-label": `Position in ${filename}`, "aria-valuemin": "0", dataset: { focus: `scrub-${this.#attachment.id}` } }, this.canvas);
    this.times = h("span.player-time");
    this.note = h("span.player-note", {}, fileSize(size ?? 0));
    this.muteButton = h("button.icon-button", { type: "button", "aria-label": "Mute", onclick: () => (this.#jukebox.volume = this.#jukebox.volume > 0 ? 0 : 0.8) });
    this.volumeSlider = h("input.player-volume", { type: "range", min: "0", max: "100", "aria-label": "Volume", oninput: () => (this.#jukebox.volume = Number(this.volumeSlider.value) / 100) });
    this.element = h("div.player", { role: "group", "aria-label": `Audio: ${filename}` },
      this.playButton,
      h("div.player-main", {},
        h("div.player-head", {}, h("a.player-name", { href: url, download: filename, title: filename }, filename), this.note),
        this.slider,
        h("div.player-foot", {}, this.times, h("span.player-sound", {}, this.volumeSlider, this.muteButton),
          h("a.icon-button", { href: url, download: filename, "aria-label": `Download ${filename}` }, icon("download"))),
      ),
    );
    this.#showState();
  }

  #listen() {
    const audio = this.#audio;
    audio.addEventListener("play", () => {
      this.#jukebox.starts(this);
      this.#showState();
      this.#animate();
    });
    audio.addEventListener("pause", () => this.#showState());
    audio.addEventListener("ended", () => {
      audio.currentTime = 0;
      this.#showState();
    });
    audio.addEventListener("loadedmetadata", () => {
      if (Number.isFinite(audio.duration)) this.#duration = audio.duration;
      this.#paint();
    });
    audio.addEventListener("seeked", () => this.#paint());
    audio.addEventListener("error", () => audio.src && this.#complain("The browser can’t play this file. Download it instead."));
    this.slider.addEventListener("keydown", (event) => this.#onKey(event));
    this.slider.addEventListener("pointerdown", (event) => this.#onScrub(event));
    this.slider.addEventListener("pointermove", (event) => this.#onHover(event));
    this.slider.addEventListener("pointerleave", () => this.#setHover(0));
    new ResizeObserver(() => this.#paint()).observe(this.canvas);
    // A margin, so that the waveform is there when the eye is.
    const watcher = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      watcher.disconnect();
      this.#load();
    }, { rootMargin: "200px" });
    watcher.observe(this.element);
  }

  #load() {
    this.#loading ??= this.#fetch().catch(() => this.#complain("The audio could not be loaded."));
    return this.#loading;
  }

  async #fetch() {
    const response = await fetch(this.#attachment.url);
    if (!response.ok) throw new Error(String(response.status));
    const blob = await response.blob();
    this.#blobUrl = URL.createObjectURL(blob);
    this.#audio.src = this.#blobUrl;
    if (blob.size <= DECODE_LIMIT_BYTES && !this.#levels) {
      this.element.classList.add("player-reading");
      await this.#jukebox.inTurn(async () => {
        const { levels, duration } = await readWaveform(await blob.arrayBuffer());
        this.#levels = levels;
        this.#duration ||= duration;
      }).catch(() => {}); // without a picture it still plays
      this.element.classList.remove("player-reading");
    }
    this.#paint();
  }

  async #toggle() {
    if (!this.#audio.paused) {
      this.pause();
      return;
    }
    await this.#load();
    await this.#audio.play().catch(() => this.#complain("The browser can’t play this file. Download it instead."));
  }

  #seek(seconds) {
    if (!this.#duration) return;
    this.#audio.currentTime = Math.max(0, Math.min(this.#duration - 0.01, seconds));
    this.#paint();
  }

  #onKey(event) {
    const now = this.#audio.currentTime;
    const steps = { ArrowRight: now + STEP_S, ArrowUp: now + STEP_S, ArrowLeft: now - STEP_S, ArrowDown: now - STEP_S, PageUp: now + BIG_STEP_S, PageDown: now - BIG_STEP_S, Home: 0, End: this.#duration };
    if (event.key === " " || event.key === "Enter") this.#toggle();
    else if (event.key in steps) this.#seek(steps[event.key]);
    else return;
    event.preventDefault();
  }

  #fractionAt(event) {
    const box = this.slider.getBoundingClientRect();
    return Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
  }

  #onScrub(event) {
    if (event.button !== 0) return;
    this.slider.setPointerCapture(event.pointerId);
    const follow = (at) => this.#seek(this.#fractionAt(at) * this.#duration);
    const end = () => this.slider.removeEventListener("pointermove", follow);
    this.slider.addEventListener("pointermove", follow);
    this.slider.addEventListener("pointerup", end, { once: true });
    this.slider.addEventListener("pointercancel", end, { once: true });
    this.#load().then(() => follow(event));
  }

  #onHover(event) {
    if (event.pointerType === "mouse") this.#setHover(this.#fractionAt(event));
  }

  #setHover(value) {
    this.#hover = value;
    this.#paint();
  }

  #animate() {
    cancelAnimationFrame(this.#frame);
    const step = () => {
      this.#paint();
      if (!this.#audio.paused) this.#frame = requestAnimationFrame(step);
    };
    step();
  }

  #complain(text) {
    this.element.classList.add("player-broken");
    this.note.textContent = text;
    this.playButton.disabled = true;
  }

  #showState() {
    const playing = !this.#audio.paused;
    this.element.classList.toggle("player-playing", playing);
    fill(this.playButton, icon(playing ? "pause" : "play"));
    this.playButton.setAttribute("aria-label", `${playing ? "Pause" : "Play"} ${this.#attachment.filename}`);
    this.#paint();
  }

  #paint() {
    const now = this.#audio.currentTime;
    const played = this.#duration ? now / this.#duration : 0;
    this.times.textContent = this.#duration ? `${minutes(now)} / ${minutes(this.#duration)}` : minutes(now);
    this.slider.setAttribute("aria-valuemax", String(Math.round(this.#duration)));
    this.slider.setAttribute("aria-valuenow", String(Math.round(now)));
    this.slider.setAttribute("aria-valuetext", `${minutes(now)} of ${minutes(this.#duration)}`);
    drawWaveform(this.canvas, { levels: this.#levels, played, hover: this.#hover });
  }
}
