"""The page's WebSocket: what a member does goes in, what the member may see comes out.

    {"op": "react", "id": 7, …}                   ─▶  {"reply": 7, "ok": true}  or  {"reply": 7, "ok": false, "error": "words for people"}
    {"push": "MESSAGE_CREATE", "data": Message}    ◀─  whatever happens, seen through the eyes of the member on this connection

Messages, channels and commands are Discord's own JSON. A member sees only their own ephemeral messages and the commands they may
use. Not here: how an interaction reaches the bot (``interactions``), who may open this socket at all (``app``).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from aiohttp import WSMsgType, web
from simcord.backend import serializers
from simcord.backend.access import channel_accessible, message_accessible, reaction_permissions
from simcord.backend.errors import BackendError
from simcord.backend.models import Message, User

from bot.rehearsal import world
from bot.rehearsal.backend import LOADING_FLAG, RehearsalBackend
from bot.rehearsal.cdn import Uploads
from bot.rehearsal.gateway import Gateway
from bot.rehearsal.interactions import Interactions, Use
from bot.rehearsal.options import FieldError
from bot.rehearsal.rest import MAX_FILES, MAX_REACTIONS
from bot.rehearsal.wire import hide_used_attachments, with_local_urls

log = logging.getLogger(__name__)

MAX_CONTENT = 2000
MAX_HISTORY = 100
RELAYED = ("CHANNEL_CREATE", "CHANNEL_UPDATE", "CHANNEL_DELETE", "THREAD_CREATE", "THREAD_UPDATE", "THREAD_DELETE", "CHANNEL_PINS_UPDATE")
"""Events that go to the page as they are, to those who may see the channel."""


class Viewer:
    """One open page and the member it acts for."""

    def __init__(self, member: User, socket: web.WebSocketResponse) -> None:
        self.member = member
        self.socket = socket
        self.outgoing: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def push(self, event: str, data: Any) -> None:
        self.outgoing.put_nowait({"push": event, "data": data})


class PageApi:
    def __init__(self, backend: RehearsalBackend, interactions: Interactions, uploads: Uploads, gateway: Gateway) -> None:
        self.backend = backend
        self.interactions = interactions
        self.uploads = uploads
        self.gateway = gateway
        self.viewers: set[Viewer] = set()
        self._operations: dict[str, Callable[[Viewer, dict[str, Any]], Awaitable[dict[str, Any]]]] = {
            "hello": self._hello,
            "switch": self._hello,
            "history": self._history,
            "send": self._send,
            "react": self._react,
            "delete": self._delete,
            "slash": self._slash,
            "context": self._context,
            "autocomplete": self._autocomplete,
            "click": self._click,
            "select": self._select,
            "modal_submit": self._modal_submit,
        }
        backend.subscribers.append(self._on_event)
        backend.private_listeners.append(self._on_private)
        backend.on_commands.append(self._on_commands)
        gateway.on_presence.append(self._on_presence)

    # ------------------------------------------------------------- the socket

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """``GET /page/ws``."""
        socket = web.WebSocketResponse(max_msg_size=1 << 20, heartbeat=30.0)
        await socket.prepare(request)
        first = world.find_member(self.backend, "alice")
        assert first is not None
        viewer = Viewer(first, socket)
        self.viewers.add(viewer)
        tasks = {asyncio.create_task(self._pump(socket, viewer))}
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    continue
                asked = json.loads(message.data)
                if not isinstance(asked, dict):
                    raise ValueError("a request is an object")
                answering = asyncio.create_task(self._answer(viewer, asked))
                if asked.get("op") == "autocomplete":  # waits for the bot; what is asked meanwhile does not
                    tasks.add(answering)
                    answering.add_done_callback(tasks.discard)
                else:
                    await answering
        except ValueError:
            await socket.close(code=1003, message=b"not JSON")
        finally:
            self.viewers.discard(viewer)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return socket

    async def close(self) -> None:
        """Tell every open page that the rehearsal ends."""
        await asyncio.gather(*(viewer.socket.close(code=1001) for viewer in list(self.viewers)))

    async def _pump(self, socket: web.WebSocketResponse, viewer: Viewer) -> None:
        while True:
            await socket.send_str(json.dumps(await viewer.outgoing.get(), default=str))

    async def _answer(self, viewer: Viewer, asked: dict[str, Any]) -> None:
        try:
            operation = self._operations.get(str(asked.get("op")))
            if operation is None:
                raise FieldError(f"there is no operation {asked.get('op')!r}")
            answer = {"ok": True, **await operation(viewer, asked)}
        except FieldError as error:
            answer = {"ok": False, "error": str(error)}
        except BackendError as error:
            answer = {"ok": False, "error": _REFUSALS.get(error.code, error.message)}
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            log.exception("page: %s failed", asked.get("op"))
            answer = {"ok": False, "error": f"this request cannot be read: {error!r}"}
        viewer.outgoing.put_nowait({"reply": asked.get("id"), **answer})

    # ----------------------------------------------------------- what is asked

    async def _hello(self, viewer: Viewer, asked: dict[str, Any]) -> dict[str, Any]:
        member = world.find_member(self.backend, str(asked.get("member") or "alice"))
        if member is None:
            raise FieldError(f"there is no member {asked.get('member')!r}")
        viewer.member = member
        guild = world.the_guild(self.backend)
        return {
            "me": world.member_json(self.backend, member.id),
            "members": world.members_json(self.backend),
            "roles": world.roles_json(self.backend),
            "guild": {"id": str(guild.id), "name": guild.name},
            "channels": world.channels_json(self.backend, member.id),
            "commands": world.commands_json(self.backend, member.id),
            "bot_online": self.gateway.online,
            "upload_limit": self.uploads.max_bytes,
        }

    async def _history(self, viewer: Viewer, asked: dict[str, Any]) -> dict[str, Any]:
        channel_id = int(asked["channel_id"])
        before = int(asked.get("before") or 1 << 63)
        limit = min(max(int(asked.get("limit") or 50), 1), MAX_HISTORY)
        stored = self.backend.messages.get(channel_id, {})
        visible = [
            m
            for i, m in sorted(stored.items())
            if i < before and message_accessible(self.backend, channel_id, m, viewer.member.id, history=True)
        ]
        return {"messages": [self.message_json(message, viewer.member.id) for message in visible[-limit:]]}

    async def _send(self, viewer: Viewer, asked: dict[str, Any]) -> dict[str, Any]:
        channel_id, content = int(asked["channel_id"]), str(asked.get("content") or "")
        upload_ids = [str(upload_id) for upload_id in asked.get("uploads") or []]
        self._require(viewer, channel_id, "send_messages", *(["attach_files"] if upload_ids else []))
        if len(content) > MAX_CONTENT:
            raise FieldError(f"a message has at most {MAX_CONTENT:,} characters; this one has {len(content):,}")
        if len(upload_ids) > MAX_FILES:
            raise FieldError(f"a message has at most {MAX_FILES} files")
        if not content.strip() and not upload_ids:
            raise FieldError("an empty message cannot be sent")
        attach = self._attach(channel_id)
        attachments = [attach(upload_id) for upload_id in upload_ids]
        message = self.backend.create_message(channel_id, viewer.member.id, content, attachments=attachments)
        return {"message_id": str(message.id)}

    async def _react(self, viewer: Viewer, asked: dict[str, Any]) -> dict[str, Any]:
        channel_id, message_id, emoji, on = int(asked["channel_id"]), int(asked["message_id"]), str(asked["emoji"]), bool(asked["on"])
        message = self._visible(viewer, channel_id, message_id)
        if not 0 < len(emoji) <= 16 or ":" in emoji or (emoji.isascii() and emoji.isalnum()):
            raise FieldError("react with one emoji")
        self._require(viewer, channel_id, *reaction_permissions(message, emoji, reacted=on))
        if on and message.reaction_for(emoji) is None and len(message.reactions) >= MAX_REACTIONS:
            raise FieldError(f"a message has at most {MAX_REACTIONS} different reactions")
        self.backend.set_reaction(channel_id, message_id, emoji, viewer.member.id, on)
        return {}

    async def _delete(self, viewer: Viewer, asked: dict[str, Any]) -> dict[str, Any]:
        channel_id, message_id = int(asked["channel_id"]), int(asked["message_id"])
        message = self._visible(viewer, channel_id, message_id)
        if message.author_id != viewer.member.id and not message.is_ephemeral:  # one's own ephemeral answer can be dismissed
            self._require(viewer, channel_id, "manage_messages")
        self.backend.delete_message(channel_id, message_id)
        return {}

    async def _slash(self, viewer: Viewer, asked: dict[str, Any]) -> dict[str, Any]:
        path = [str(part) for part in asked.get("path") or []]
        self.interactions.slash(self._use(viewer, asked), str(asked["command_id"]), path, dict(asked.get("options") or {}))
        return {}

    async def _context(self, viewer: Viewer, asked: dict[str, Any]) -> dict[str, Any]:
        self.interactions.context(self._use(viewer, asked), str(asked["command_id"]), int(asked["target_id"]))
        return {}

    async def _autocomplete(self, viewer: Viewer, asked: dict[str, Any]) -> dict[str, Any]:
        path = [str(part) for part in asked.get("path") or []]
        values, focused = dict(asked.get("options") or {}), str(asked["focused"])
        use = replace(self._use(viewer, asked), push=lambda _event, _data: None)
        return {"choices": await self.interactions.autocomplete(use, str(asked["command_id"]), path, values, focused)}

    async def _click(self, viewer: Viewer, asked: dict[str, Any]) -> dict[str, Any]:
        self.interactions.click(self._use(viewer, asked), int(asked["message_id"]), str(asked["custom_id"]))
        return {}

    async def _select(self, viewer: Viewer, asked: dict[str, Any]) -> dict[str, Any]:
        values = [str(value) for value in asked.get("values") or []]
        self.interactions.select(self._use(viewer, asked), int(asked["message_id"]), str(asked["custom_id"]), values)
        return {}

    async def _modal_submit(self, viewer: Viewer, asked: dict[str, Any]) -> dict[str, Any]:
        self.interactions.modal_submit(self._use(viewer, asked), int(asked["interaction_id"]), dict(asked.get("fields") or {}))
        return {}

    def _use(self, viewer: Viewer, asked: dict[str, Any]) -> Use:
        channel_id = int(asked["channel_id"])
        return Use(viewer.member.id, channel_id, str(asked.get("nonce") or ""), viewer.push, self._attach(channel_id))

    # ------------------------------------------------------------- what is told

    def _on_event(self, event: str, payload: Mapping[str, Any]) -> None:
        if event in ("MESSAGE_CREATE", "MESSAGE_UPDATE"):
            message = self.backend.messages.get(int(payload["channel_id"]), {}).get(int(payload["id"]))
            if message is not None:
                self._tell_message(event, message)
        elif event == "MESSAGE_DELETE":
            self._tell(int(payload["channel_id"]), event, {"id": payload["id"], "channel_id": payload["channel_id"]})
        elif event == "MESSAGE_DELETE_BULK":
            for message_id in payload["ids"]:
                self._tell(int(payload["channel_id"]), "MESSAGE_DELETE", {"id": message_id, "channel_id": payload["channel_id"]})
        elif event.startswith("MESSAGE_REACTION"):
            self._tell_reaction(event, payload)
        elif event in RELAYED:
            self._tell(
                int(payload["id"] if "id" in payload else payload["channel_id"]), event, dict(payload), gone=event.endswith("DELETE")
            )

    def _on_private(self, event: str, message: Message) -> None:
        for viewer in self.viewers:
            if message.visible_to(viewer.member.id):
                brief = {"id": str(message.id), "channel_id": str(message.channel_id)}
                viewer.push(event, brief if event == "MESSAGE_DELETE" else self.message_json(message, viewer.member.id))

    def _tell_message(self, event: str, message: Message) -> None:
        for viewer in self.viewers:
            if message_accessible(self.backend, message.channel_id, message, viewer.member.id):
                viewer.push(event, self.message_json(message, viewer.member.id))

    def _tell_reaction(self, event: str, payload: Mapping[str, Any]) -> None:
        channel_id = int(payload["channel_id"])
        brief = {key: payload[key] for key in ("channel_id", "message_id", "user_id", "emoji") if key in payload}
        message = self.backend.messages.get(channel_id, {}).get(int(payload["message_id"]))
        reaction = message.reaction_for(payload["emoji"]["name"]) if message is not None and "emoji" in payload else None
        user_ids = reaction.user_ids if reaction is not None else []
        for viewer in self.viewers:
            if channel_accessible(self.backend, channel_id, viewer.member.id):
                viewer.push(event, {**brief, "count": len(user_ids), "me": viewer.member.id in user_ids})

    def _tell(self, channel_id: int, event: str, data: dict[str, Any], *, gone: bool = False) -> None:
        for viewer in self.viewers:
            if gone or channel_accessible(self.backend, channel_id, viewer.member.id):
                viewer.push(event, data)

    def _on_commands(self) -> None:
        for viewer in self.viewers:
            viewer.push("COMMANDS", world.commands_json(self.backend, viewer.member.id))

    def _on_presence(self, online: bool) -> None:
        for viewer in self.viewers:
            viewer.push("BOT_PRESENCE", {"online": online})

    def message_json(self, message: Message, user_id: int) -> dict[str, Any]:
        """A message as this member's page draws it. ``interaction_failed``: still 'thinking…', and nobody can answer any more."""
        payload = dict(serializers.message_payload(self.backend, message, for_user=user_id))
        shown: dict[str, Any] = with_local_urls(hide_used_attachments(payload), self.backend.cdn.base_url)
        used = shown.get("interaction_metadata")
        if used is not None and "target_id" in used:
            used["target_id"] = str(used["target_id"])  # too large for a number in JavaScript
        if message.flags & LOADING_FLAG:
            shown["interaction_failed"] = int((used or {}).get("id", 0)) not in self.backend.interactions
        return shown

    # ---------------------------------------------------------------- look-ups

    def _visible(self, viewer: Viewer, channel_id: int, message_id: int) -> Message:
        message = self.backend.get_message(channel_id, message_id)
        if not message_accessible(self.backend, channel_id, message, viewer.member.id):
            raise FieldError("you cannot see this message")
        return message

    def _require(self, viewer: Viewer, channel_id: int, *permissions: str) -> None:
        self.backend.require_permissions(world.the_guild(self.backend).id, viewer.member.id, channel_id, *permissions)

    def _attach(self, channel_id: int) -> Callable[[str], dict[str, Any]]:
        """Turns upload ids into attachments of a channel, each once."""

        def attach(upload_id: str) -> dict[str, Any]:
            upload = self.uploads.get(upload_id)
            if upload is None:
                raise FieldError("this file is gone: choose it again")
            attachment: dict[str, Any] = self.backend.cdn.adopt(self.backend.snowflake(), channel_id, upload)
            return attachment

        return attach


_REFUSALS = {
    10003: "this channel is gone",
    10008: "this message is gone",
    50001: "you may not see this channel",
    50013: "you may not do this here",
}
