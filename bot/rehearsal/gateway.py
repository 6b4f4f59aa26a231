"""The gateway: the bot's WebSocket, as Discord documents it for API v10.

    HELLO (10) ─▶ IDENTIFY (2) ─▶ READY, GUILD_CREATE …        events (0), numbered, kept for a resume
                  RESUME (6)   ─▶ the missed events, RESUMED    or INVALID_SESSION (9)
    HEARTBEAT (1) ─▶ ACK (11)      RECONNECT (7)      REQUEST_GUILD_MEMBERS (8) ─▶ GUILD_MEMBERS_CHUNK

Events pass the intents that the bot declared; without the privileged MESSAGE_CONTENT others' words are blanked, as on Discord.
``drop``, ``ask_to_reconnect`` and ``forget_sessions`` make the failures that the end-to-end tests need.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import discord
from aiohttp import WSMsgType, web
from simcord import intents as simcord_intents
from simcord.backend import serializers

from bot.rehearsal.backend import RehearsalBackend
from bot.rehearsal.wire import hide_used_attachments

log = logging.getLogger(__name__)

HEARTBEAT_INTERVAL_MS = 41_250
KEPT_EVENTS = 2_000
"""Events kept a session for RESUME; whoever missed more gets op 9."""
KEPT_SESSIONS = 4

DISPATCH, HEARTBEAT, IDENTIFY, RESUME, RECONNECT, REQUEST_MEMBERS, INVALID_SESSION, HELLO, HEARTBEAT_ACK = 0, 1, 2, 6, 7, 8, 9, 10, 11
CLOSE_UNKNOWN, CLOSE_AUTHENTICATION_FAILED, CLOSE_DISALLOWED_INTENTS = 4000, 4004, 4014


class Connection:
    """One WebSocket: frames go out in order, compressed when the client asked for it."""

    def __init__(self, socket: web.WebSocketResponse, compress: bool) -> None:
        self.socket = socket
        self._deflate = zlib.compressobj() if compress else None
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def send(self, op: int, data: Any = None) -> None:
        self.send_frame({"op": op, "d": data, "s": None, "t": None})

    def send_frame(self, frame: dict[str, Any]) -> None:
        self._queue.put_nowait(frame)

    async def pump(self) -> None:
        """Write queued frames until cancelled. One zlib stream spans the connection; each frame ends on a flush ('zlib-stream')."""
        while True:
            text = json.dumps(await self._queue.get())
            if self._deflate is None:
                await self.socket.send_str(text)
            else:
                await self.socket.send_bytes(self._deflate.compress(text.encode()) + self._deflate.flush(zlib.Z_SYNC_FLUSH))


class Session:
    """What outlives a connection: the intents, the numbering, the events that a RESUME may ask for."""

    def __init__(self, session_id: str, intents: discord.Intents) -> None:
        self.session_id = session_id
        self.intents = intents
        self.sequence = 0
        self.events: deque[dict[str, Any]] = deque(maxlen=KEPT_EVENTS)
        self.connection: Connection | None = None

    def dispatch(self, event: str, payload: Mapping[str, Any]) -> None:
        self.sequence += 1
        frame = {"op": DISPATCH, "t": event, "s": self.sequence, "d": payload}
        self.events.append(frame)
        if self.connection is not None:
            self.connection.send_frame(frame)

    def missed_since(self, sequence: int) -> list[dict[str, Any]] | None:
        """The events after ``sequence``, or None where some are no longer kept."""
        missed = [frame for frame in self.events if frame["s"] > sequence]
        return missed if len(missed) == self.sequence - sequence else None


class Gateway:
    """All sessions of the one bot. ``on_presence`` hears whether the bot is connected."""

    def __init__(
        self, backend: RehearsalBackend, *, token: str, privileged: tuple[str, ...] = (), heartbeat_interval_ms: int = HEARTBEAT_INTERVAL_MS
    ) -> None:
        self.backend = backend
        self.token = token
        self.privileged = privileged
        self.heartbeat_interval_ms = heartbeat_interval_ms
        self.public_url = ""
        self.sessions: dict[str, Session] = {}
        self.resumes = 0
        self.identifies = 0
        self.on_presence: list[Callable[[bool], None]] = []
        backend.subscribers.append(self._on_event)

    @property
    def online(self) -> bool:
        return any(session.connection is not None for session in self.sessions.values())

    # ---------------------------------------------------------------- events

    def _on_event(self, event: str, payload: Mapping[str, Any]) -> None:
        for session in self.sessions.values():
            shaped = self._shape(session, event, payload)
            if shaped is not None:
                session.dispatch(event, shaped)

    def _shape(self, session: Session, event: str, payload: Mapping[str, Any]) -> dict[str, Any] | None:
        """The event as this session may see it, or None where its intents leave it out."""
        intent = simcord_intents.required_intent(event, payload)
        if intent is not None and not getattr(session.intents, intent):
            return None
        # The world goes on changing while the event waits in a queue: a copy is sent.
        shaped: dict[str, Any] = json.loads(json.dumps(payload, default=str))
        bot_id = self.backend.bot_user.id
        if event in ("MESSAGE_CREATE", "MESSAGE_UPDATE") and not session.intents.message_content:
            simcord_intents.censor_message(shaped, bot_id, backend=self.backend)
        if event == "GUILD_CREATE":
            simcord_intents.prune_guild_create(shaped, session.intents, bot_id)
        shown: dict[str, Any] = hide_used_attachments(shaped)
        return shown

    # ------------------------------------------------------------ connection

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """``GET /gateway``: one connection, until either side closes it."""
        socket = web.WebSocketResponse(max_msg_size=1 << 20)
        await socket.prepare(request)
        connection = Connection(socket, compress=request.query.get("compress") == "zlib-stream")
        connection.send(HELLO, {"heartbeat_interval": self.heartbeat_interval_ms})
        pump = asyncio.create_task(connection.pump())
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._on_frame(connection, json.loads(message.data))
        except (ValueError, KeyError, TypeError) as error:
            log.warning("gateway: a frame that cannot be read: %s", error)
            await socket.close(code=4002)
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
            self._detach(connection)
        return socket

    async def _on_frame(self, connection: Connection, frame: dict[str, Any]) -> None:
        op: int = frame["op"]
        data: Any = frame.get("d")
        if op == HEARTBEAT:
            connection.send(HEARTBEAT_ACK)
        elif op == IDENTIFY:
            await self._identify(connection, data)
        elif op == RESUME:
            await self._resume(connection, data)
        elif op == REQUEST_MEMBERS:
            self._send_members(connection, data)

    async def _identify(self, connection: Connection, data: dict[str, Any]) -> None:
        intents = discord.Intents._from_value(int(data["intents"]))
        if data["token"] != self.token:
            await connection.socket.close(code=CLOSE_AUTHENTICATION_FAILED, message=b"Authentication failed.")
            return
        if any(getattr(intents, name) and name not in self.privileged for name in simcord_intents.PRIVILEGED_INTENTS):
            await connection.socket.close(code=CLOSE_DISALLOWED_INTENTS, message=b"Disallowed intent(s).")
            return
        session = Session(secrets.token_hex(16), intents)
        self.sessions[session.session_id] = session
        while len(self.sessions) > KEPT_SESSIONS:
            del self.sessions[next(iter(self.sessions))]
        self.identifies += 1
        backend = self.backend
        session.connection = connection
        session.dispatch(
            "READY",
            {
                "v": 10,
                "user": serializers.user_payload(backend.bot_user),
                "guilds": [{"id": str(guild_id), "unavailable": True} for guild_id in backend.guilds],
                "session_id": session.session_id,
                "resume_gateway_url": self.public_url,
                "application": {"id": str(backend.application_id), "flags": 0},
            },
        )
        for guild in backend.guilds.values():
            shaped = self._shape(session, "GUILD_CREATE", serializers.guild_create_payload(backend, guild))
            if shaped is not None:
                session.dispatch("GUILD_CREATE", shaped)
        self._announce_presence()

    async def _resume(self, connection: Connection, data: dict[str, Any]) -> None:
        session = self.sessions.get(data["session_id"])
        missed = session.missed_since(int(data["seq"])) if session is not None and data["token"] == self.token else None
        if session is None or missed is None:
            connection.send(INVALID_SESSION, False)
            return
        for frame in missed:
            connection.send_frame(frame)
        session.connection = connection
        session.dispatch("RESUMED", {})
        self.resumes += 1
        self._announce_presence()

    def _send_members(self, connection: Connection, data: dict[str, Any]) -> None:
        session = next((s for s in self.sessions.values() if s.connection is connection), None)
        guild = self.backend.guilds.get(int(data["guild_id"]))
        if session is None or guild is None:
            return
        wanted = {int(user_id) for user_id in data.get("user_ids") or []}
        query = (data.get("query") or "").casefold()
        members = [
            serializers.member_payload(self.backend, guild, member)
            for member in guild.members.values()
            if (member.user_id in wanted if wanted else self.backend.users[member.user_id].name.casefold().startswith(query))
        ]
        chunk = {"guild_id": str(guild.id), "members": members, "chunk_index": 0, "chunk_count": 1, "not_found": []}
        session.dispatch("GUILD_MEMBERS_CHUNK", {**chunk, "nonce": data.get("nonce")})

    def _detach(self, connection: Connection) -> None:
        for session in self.sessions.values():
            if session.connection is connection:
                session.connection = None
                self._announce_presence()

    def _announce_presence(self) -> None:
        for listener in self.on_presence:
            listener(self.online)

    # -------------------------------------------------------------- failures

    async def drop(self, code: int = CLOSE_UNKNOWN) -> None:
        """Close the bot's socket; its session can be resumed."""
        for connection in [s.connection for s in self.sessions.values() if s.connection is not None]:
            self._detach(connection)
            await connection.socket.close(code=code)

    def ask_to_reconnect(self) -> None:
        """Op 7: Discord does so before a gateway node goes away."""
        for session in self.sessions.values():
            if session.connection is not None:
                session.connection.send(RECONNECT)

    async def forget_sessions(self) -> None:
        """Close the socket and forget the session: the next RESUME is answered by op 9."""
        connections = [s.connection for s in self.sessions.values() if s.connection is not None]
        self.sessions.clear()
        self._announce_presence()
        for connection in connections:
            await connection.socket.close(code=CLOSE_UNKNOWN)
