"""SimCord's in-memory Discord, made to live in real time.

SimCord is one source of truth for users, channels, messages, reactions, commands and interactions; its REST handlers and its
gateway events are two views of it. Here is only what a rehearsal needs that it lacks: a real clock, ids that never return,
tokens that cannot be guessed, attachments on disk, events for messages that only one member may see.

Not here: HTTP and WebSockets (``rest``, ``gateway``, ``page_api``), who lives in the world (``world``), files (``cdn``).
"""

from __future__ import annotations

import datetime
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from simcord.backend import Backend
from simcord.backend.models import Interaction, Message

from bot.rehearsal.cdn import Cdn

DISCORD_EPOCH_MS = 1420070400000
"""Discord counts the milliseconds in its ids from the first second of 2015 (API reference, 'Snowflakes')."""
LOADING_FLAG = 1 << 7
"""``MessageFlags.loading``: a deferred answer, which clients draw as 'thinking…'."""
TOKEN_LIFETIME_S = 15 * 60.0
ACK_WITHIN_S = 3.0

PrivateListener = Callable[[str, Message], None]


class LiveClock:
    """The wall clock behind SimCord's clock interface."""

    elapsed = 0.0

    def now(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC)

    def advance(self, seconds: float) -> None:
        raise NotImplementedError("a rehearsal runs in real time")


class RehearsalBackend(Backend):
    """The world's state.

    ``private_listeners`` hear of messages that go to one member only (Discord announces those to nobody else, the bot included);
    ``subscribers``, SimCord's own list, hear of everything else.
    """

    def __init__(self, cdn: Cdn, *, token_lifetime_s: float = TOKEN_LIFETIME_S, ack_within_s: float = ACK_WITHIN_S) -> None:
        self.last_id = 0
        self.token_lifetime_s = token_lifetime_s
        self.ack_within_s = ack_within_s
        self.private_listeners: list[PrivateListener] = []
        self.on_commands: list[Callable[[], None]] = []
        self.on_deferred_done: list[Callable[[Message], None]] = []
        super().__init__(clock=LiveClock())
        self.cdn = cdn
        # SimCord keeps every request and event for its assertions; a rehearsal may run for days.
        self.http_requests: deque[Any] = deque(maxlen=0)
        self.transcript: deque[Any] = deque(maxlen=0)

    def snowflake(self) -> int:
        """A new id, greater than every id before it, also when the clock was set back or the process was restarted."""
        milliseconds = int(self.clock.now().timestamp() * 1000) - DISCORD_EPOCH_MS
        self.last_id = max(self.last_id + 1, milliseconds << 22)
        return self.last_id

    def new_interaction(self, type: int, channel_id: int, user_id: int, guild_id: int | None) -> Interaction:
        interaction_id = self.snowflake()
        record = Interaction(
            id=interaction_id,
            token=secrets.token_urlsafe(48),
            type=type,
            channel_id=channel_id,
            guild_id=guild_id,
            user_id=user_id,
            expires_at=self.iso_after(self.token_lifetime_s),
            initial_response_deadline=self.iso_after(self.ack_within_s),
        )
        self.interactions[interaction_id] = record
        self.interaction_tokens[record.token] = interaction_id
        return record

    def forget_interaction(self, record: Interaction) -> None:
        """Drop an interaction whose token has expired."""
        self.interactions.pop(record.id, None)
        self.interaction_tokens.pop(record.token, None)

    def register_commands(self, guild_id: int | None, payloads: list[dict[str, Any]]) -> list[dict[str, Any]]:
        registered: list[dict[str, Any]] = super().register_commands(guild_id, payloads)
        for listener in self.on_commands:
            listener()
        return registered

    def commit_message(self, message: Message, *, broadcast: bool = True) -> Message:
        resolve_embed_files(message)
        message = super().commit_message(message, broadcast=broadcast)
        if message.is_ephemeral:
            self._tell_privately("MESSAGE_CREATE", message)
        return message

    def edit_message(self, channel_id: int, message_id: int, fields: dict[str, Any]) -> Message:
        was_loading = bool(self.get_message(channel_id, message_id).flags & LOADING_FLAG)
        if fields.get("embeds"):
            attachments = fields.get("attachments", self.get_message(channel_id, message_id).attachments)
            point_at_files(fields["embeds"], attachments or [])
        message = super().edit_message(channel_id, message_id, fields)
        if message.is_ephemeral:
            self._tell_privately("MESSAGE_UPDATE", message)
        if was_loading and not message.flags & LOADING_FLAG:
            self._deferred_done(message)
        return message

    def delete_message(self, channel_id: int, message_id: int) -> None:
        message = self.get_message(channel_id, message_id)
        super().delete_message(channel_id, message_id)
        for attachment in message.attachments:
            self.cdn.forget(int(attachment["id"]))
        if message.flags & LOADING_FLAG:
            self._deferred_done(message)
        if message.is_ephemeral:
            self._tell_privately("MESSAGE_DELETE", message)

    def _emit_reaction(self, event: str, message: Message, emoji: str, user_id: int) -> None:
        # Discord names the message's author when a reaction is added; SimCord does not.
        self._reacted_author_id = message.author_id if event == "MESSAGE_REACTION_ADD" else None
        super()._emit_reaction(event, message, emoji, user_id)

    def emit(self, event: str, payload: Mapping[str, Any]) -> None:
        if event == "MESSAGE_REACTION_ADD" and self._reacted_author_id is not None:
            payload = {**payload, "message_author_id": str(self._reacted_author_id)}
        super().emit(event, payload)

    def _deferred_done(self, message: Message) -> None:
        for listener in self.on_deferred_done:
            listener(message)

    def _tell_privately(self, event: str, message: Message) -> None:
        for listener in self.private_listeners:
            listener(event, message)


def resolve_embed_files(message: Message) -> None:
    """Replace ``attachment://name`` in a message's embeds by the file's URL, as Discord does when it stores the message."""
    point_at_files(message.embeds, message.attachments)


def point_at_files(embeds: list[dict[str, Any]], attachments: list[dict[str, Any]]) -> None:
    urls = {f"attachment://{attachment['filename']}": attachment["url"] for attachment in attachments}
    for embed in embeds:
        for place in ("image", "thumbnail"):
            picture = embed.get(place)
            if isinstance(picture, dict) and picture.get("url") in urls:
                picture["url"] = picture["proxy_url"] = urls[picture["url"]]
