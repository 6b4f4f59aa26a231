// The page put together: parts are made here once and handed to one another; pushes find their way; notices, title and address follow.
//
//   socket ─▶ state ─▶ log ─▶ message ─▶ prose (markdown), attachments (player, waveform, csv), embeds, components (select), reactions
//      ▲         └───▶ sidebar, welcome
//      └─ actions ◀── composer ─▶ slash ─▶ pill, suggestions (commands) · menus ─▶ menu · modal ─▶ fields (uploads)
//
// Pure, without DOM or network: markdown, commands, csv, time, snowflake. Everything that makes nodes makes them with dom.js.

import { Actions } from "./actions.js";
import { Composer } from "./composer.js";
import { byId, fill, h } from "./dom.js";
import { Drawers } from "./drawers.js";
import { acceptDrops } from "./drop.js";
import { icon } from "./icons.js";
import { Interactions } from "./interactions.js";
import { Lightbox } from "./lightbox.js";
import { Log } from "./log.js";
import { longPressOpensMenu } from "./menu.js";
import { recall, remember } from "./memory.js";
import { openModal } from "./modal.js";
import { Jukebox } from "./player.js";
import { drawCast, drawChannels, drawMembers } from "./sidebar.js";
import { Socket } from "./socket.js";
import { State } from "./state.js";
import { tickRelativeTimes } from "./time.js";
import { Toasts } from "./toasts.js";
import { openTour } from "./welcome.js";

const FIRST_MEMBER = "alice";
const DISMISSED_KEPT = 500;

const socketUrl = new URL("/page/ws", location.href);
socketUrl.protocol = location.protocol === "https:" ? "wss:" : "ws:";

const state = new State(recall("dismissed", []));
const socket = new Socket(socketUrl);
const toasts = new Toasts(byId("toasts"));
const interactions = new Interactions();
const actions = new Actions({ state, socket, interactions, toasts });
const context = { state, actions, interactions, toasts, jukebox: new Jukebox(), lightbox: new Lightbox() };

fill(byId("open-sidebar"), icon("menu"));
fill(byId("toggle-members"), icon("people"));
fill(byId("open-tour"), icon("compass"), h("span", {}, "What to try"));
const drawers = new Drawers();
const log = new Log(context);
const composer = new Composer(byId("composer"), context);
byId("open-tour").addEventListener("click", () => openTour(context));
acceptDrops((files) => composer.addFiles(files));
longPressOpensMenu(byId("app"));
tickRelativeTimes();

// ---- the line ----

let lost = false;
let greeted = false;

async function sayHello() {
  const username = recall("member", FIRST_MEMBER, "session"); // the tab's own: two tabs can be two members
  try {
    await actions.hello(username).catch((error) => {
      // A member of an older rehearsal, perhaps: begin as the first one.
      if (username === FIRST_MEMBER || !socket.connected) throw error;
      return actions.hello(FIRST_MEMBER);
    });
    greeted = true;
    lost = false;
  } catch (error) {
    if (socket.connected) toasts.error(error.message);
  }
  showNotices();
}

socket.addEventListener("open", sayHello);
socket.addEventListener("lost", () => {
  lost = true;
  interactions.forget();
  showNotices();
});
socket.addEventListener("push", ({ detail: { push, data } }) => {
  if (push === "INTERACTION") {
    interactions.receive(data);
    if (data.state === "failed" && data.message_id) state.giveUp(data.message_id);
  } else if (push === "MODAL") {
    interactions.finish(data.nonce);
    openModal(data, context);
  } else state.push(push, data);
});

function showNotices() {
  const lostNotice = h("p.notice.notice-lost", {}, icon("plug"), h("span", {}, greeted ? "The connection to the rehearsal is lost. Trying again …" : "No rehearsal answers here yet. Trying again …"), h("button.text-button", { type: "button", onclick: () => socket.retryNow() }, "Try now"));
  const name = state.bot?.display_name ?? "The bot";
  const offline = h("p.notice.notice-offline", {}, icon("spark"), h("span", {}, `${name} is offline: commands and buttons wait until it is back.`));
  fill(byId("notices"), lost ? lostNotice : greeted && !state.botOnline ? offline : null);
  document.body.classList.toggle("is-lost", lost);
}

// ---- what changes ----

const channelOfAddress = () => state.textChannels().find((channel) => `#${encodeURIComponent(channel.name)}` === location.hash);
addEventListener("hashchange", () => actions.lookAt(channelOfAddress()?.id));

let shownChannelId = null;

function showChannel() {
  const { channel } = state;
  shownChannelId = state.channelId;
  fill(byId("channel-name"), channel ? [icon(channel.parent_id && channel.type >= 10 ? "thread" : "hash"), channel.name] : "");
  byId("channel-topic").textContent = channel?.topic ?? "";
  composer.showChannel(channel);
  if (channel) history.replaceState(null, "", `#${encodeURIComponent(channel.name)}`);
  showTitle();
  log.showChannel();
}

function showTitle() {
  const unread = state.unreadTotal;
  document.title = `${unread ? `(${unread}) ` : ""}${state.channel ? `#${state.channel.name} · ` : ""}Rehearsal`;
}

const drawSidebar = () => drawChannels(context, () => drawers.close());

state.addEventListener("world", () => {
  interactions.forget();
  remember("member", state.me.username, "session");
  state.channelId = channelOfAddress()?.id ?? state.channelId;
  drawSidebar();
  drawCast(context);
  drawMembers(context);
  showChannel();
  showNotices();
});

state.addEventListener("channels", () => {
  drawSidebar();
  if (shownChannelId !== state.channelId) {
    showChannel();
    markReadIfSeen();
  }
  showTitle();
});
state.addEventListener("dismissed", () => remember("dismissed", [...state.dismissed].slice(-DISMISSED_KEPT)));
state.addEventListener("presence", () => {
  drawMembers(context);
  showNotices();
});

// ---- unread ----

const looking = () => document.visibilityState === "visible" && document.hasFocus();

function markReadIfSeen() {
  if (looking() && log.following) state.markRead(state.channelId);
}

context.onRead = markReadIfSeen;
addEventListener("focus", markReadIfSeen);
document.addEventListener("visibilitychange", markReadIfSeen);

state.addEventListener("message", ({ detail: { kind, channelId, message } }) => {
  if (kind !== "create" || message.author.id === state.me?.id) return;
  const here = channelId === state.channelId;
  if (here && looking() && log.following) return;
  if (here && !looking() && !state.unread.has(channelId)) log.markNewFrom(message.id);
  state.markUnread(channelId, message.id);
});

socket.connect();
