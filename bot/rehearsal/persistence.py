"""The world on disk, so that the page shows yesterday's messages and the ids in the bot's database still mean them.

    data/world.json   users, guild, channels, messages with reactions, application commands, the last id given out
    data/cdn/         the attachments' bytes (``cdn``)
    data/lock         held while a stage runs on the folder

Ephemeral messages are not kept, as on Discord they are gone once the client is reloaded; nor are interactions, whose tokens live
for minutes. Writing is atomic (temporary file, fsync, rename) and at most a moment behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from simcord.backend.models import Channel, Guild, Message, User

from bot.rehearsal.backend import RehearsalBackend
from bot.rehearsal.wire import with_base_url

log = logging.getLogger(__name__)

FORMAT = 1
SETTLE_S = 0.3
"""Changes within this time are written together, in seconds."""


class StateError(Exception):
    """A saved world that cannot be used; the message says what to do."""


@dataclass
class SavedCommand:
    scope: int | None
    command: dict[str, Any]


@dataclass
class SavedWorld:
    """``world.json``. SimCord's models are plain dataclasses, so that pydantic can write and check them as they are."""

    format: int
    base_url: str
    last_id: int
    application_id: int
    bot_user_id: int
    users: list[User]
    guilds: list[Guild]
    channels: list[Channel]
    messages: list[Message]
    commands: list[SavedCommand] = field(default_factory=list)
    dm_channels: dict[int, int] = field(default_factory=dict)


_adapter: TypeAdapter[SavedWorld] = TypeAdapter(SavedWorld)


class Keeper:
    """Loads the world once, then writes it whenever it has changed."""

    def __init__(self, backend: RehearsalBackend, folder: Path) -> None:
        self.backend = backend
        self.path = folder / "world.json"
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self.written = asyncio.Event()
        """Set once the world is on disk for the first time."""
        self._writer: asyncio.Task[None] | None = None
        backend.subscribers.append(lambda _event, _payload: self._changed.set())
        backend.on_commands.append(self._changed.set)

    def load(self, base_url: str) -> bool:
        """Put the saved world, if there is one, in place of what the backend holds. Raises StateError."""
        if not self.path.exists():
            return False
        try:
            saved = _adapter.validate_json(self.path.read_bytes())
        except ValidationError as error:
            raise StateError(f"{self.path} cannot be read: start anew with --fresh, or move the file away") from error
        if saved.format != FORMAT:
            raise StateError(f"{self.path} was written by another version of the rehearsal: start anew with --fresh, or move the file away")
        backend = self.backend
        backend.last_id = max(backend.last_id, saved.last_id)
        backend.application_id = saved.application_id
        backend.users = {user.id: user for user in saved.users}
        backend.bot_user = backend.users[saved.bot_user_id]
        backend.guilds = {guild.id: guild for guild in saved.guilds}
        backend.channels = {channel.id: channel for channel in saved.channels}
        backend.dm_channels = dict(saved.dm_channels)
        backend.messages = {channel.id: {} for channel in saved.channels}
        for message in saved.messages:
            for part in (message.attachments, message.embeds, message.components):
                with_base_url(part, saved.base_url, base_url)
            backend.messages[message.channel_id][message.id] = message
        backend.commands = {}
        for kept in saved.commands:
            backend.commands.setdefault(kept.scope, {})[kept.command["name"], kept.command["type"]] = kept.command
        backend.cdn.remember(attachment for message in saved.messages for attachment in message.attachments)
        backend.cdn.sweep()
        return True

    def start(self) -> None:
        self._writer = asyncio.create_task(self._write_when_changed())

    async def stop(self) -> None:
        """Write what is not written yet, and end."""
        self._stopping.set()
        self._changed.set()
        assert self._writer is not None
        await self._writer

    async def _write_when_changed(self) -> None:
        stopping = False
        while not stopping:
            await self._changed.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), SETTLE_S)
            stopping = self._stopping.is_set()
            self._changed.clear()
            try:
                await asyncio.to_thread(write_atomically, self.path, self._snapshot())
                self.written.set()
            except OSError:
                log.exception("the rehearsal's messages could not be saved to %s", self.path)

    def _snapshot(self) -> bytes:
        backend = self.backend
        commands = [SavedCommand(scope, command) for scope, named in backend.commands.items() for command in named.values()]
        world = SavedWorld(
            format=FORMAT,
            base_url=backend.cdn.base_url,
            last_id=backend.last_id,
            application_id=backend.application_id,
            bot_user_id=backend.bot_user.id,
            users=list(backend.users.values()),
            guilds=list(backend.guilds.values()),
            channels=list(backend.channels.values()),
            messages=[m for stored in backend.messages.values() for m in stored.values() if not m.is_ephemeral],
            commands=commands,
            dm_channels=backend.dm_channels,
        )
        return _adapter.dump_json(world)


def write_atomically(path: Path, data: bytes) -> None:
    """Either the old file or the new one is there, also after a crash."""
    unfinished = path.with_suffix(".new")
    with unfinished.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process. Raises StateError when another holds it; the system lets go when a process dies."""
    try:
        import fcntl
    except ImportError:  # Windows: whoever starts two on one folder there is not stopped
        yield
        return
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateError(f"{folder} is in use by another rehearsal: stop that one, or choose another folder with --data") from error
        yield
