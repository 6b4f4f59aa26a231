"""Finetunes: each job that makes a checkpoint of a guild's crate, from the moment it is asked for to the one end that it comes to.

::

    create ─▶ queued ──start──▶ running ──finish──▶ done: a checkpoint, and the gate's word on it
                │                  │
                └── fail | cancel ─┘          ask_cancel: any time before the end; the engine may still have to be told

A guild has one under way at most. ``request`` is what the engine was asked, to be asked again after a restart: the same id is the same job.
What passed the gate is the guild's checkpoint from the moment that it is done, in one transaction. Forecast and report are JSON, written
and read by whoever talks to the engine. SQL enforces the picture (``migrations/0004_finetunes.sql``). Not here: which checkpoint a guild
has chosen (``guilds``).
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from storage.database import Database, Reader, Transaction
from storage.errors import FinetuneUnderWay, NameTaken, NotFound, WrongState
from storage.guilds import change_settings, ensure_guild
from storage.times import from_optional, from_text, now, to_text

Gate = Literal["passed", "failed"]
FinetuneState = Literal["queued", "running", "done", "failed", "cancelled"]
UNDER_WAY = ("queued", "running")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetune:
    id: str
    """Also the engine's name for the job."""
    guild_id: int
    channel_id: int
    member_id: int
    message_id: int | None
    name: str
    recipe: str
    base: str | None
    """Checkpoint that it starts from; None: the engine's default."""
    token: str
    tracks: int
    request: str | None
    """JSON; None after the end."""
    forecast: str | None
    """JSON; None before the engine has made one."""
    state: FinetuneState
    cancel_by: int | None
    """The member who wants it ended."""
    error: str | None
    checkpoint: str | None
    gate: Gate | None
    """None also where too little was held out to judge by."""
    verdict: str | None
    """The gate's word in a sentence."""
    report: str | None
    """JSON, without pictures and clips."""
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def ended(self) -> bool:
        return self.state not in UNDER_WAY


FinetuneList = list[Finetune]  # inside Finetunes, `list` is a method


class Finetunes:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, finetune_id: str) -> Finetune | None:
        """For the process's own use. What a member names goes through ``get_for_guild``."""
        return await _read(self._database, finetune_id)

    async def get_for_guild(self, guild_id: int, finetune_id: str) -> Finetune | None:
        return await self._first("WHERE guild_id = ? AND finetune_id = ?", guild_id, finetune_id)

    async def under_way(self, guild_id: int) -> Finetune | None:
        return await self._first("WHERE guild_id = ? AND state IN ('queued', 'running')", guild_id)

    async def unfinished(self) -> FinetuneList:
        """What is under way in every guild, oldest first: at start-up, what is to be taken up again."""
        return await self._list("WHERE state IN ('queued', 'running') ORDER BY created_at, rowid")

    async def list(self, guild_id: int, *, limit: int = 25, offset: int = 0) -> FinetuneList:
        """A page of the guild's finetunes, newest first."""
        return await self._list(
            "WHERE guild_id = ? ORDER BY created_at DESC, rowid DESC LIMIT ? OFFSET ?", guild_id, max(limit, 0), max(offset, 0)
        )

    async def count(self, guild_id: int) -> int:
        row = await self._database.one("SELECT count(*) FROM finetunes WHERE guild_id = ?", guild_id)
        return int(row[0]) if row else 0

    async def made(self, guild_id: int) -> FinetuneList:
        """Those with a checkpoint, whatever the gate said, newest first."""
        return await self._list("WHERE guild_id = ? AND state = 'done' ORDER BY created_at DESC, rowid DESC", guild_id)

    async def by_checkpoint(self, guild_id: int, checkpoint: str) -> Finetune | None:
        """The guild's finetune that made it."""
        return await self._first("WHERE guild_id = ? AND checkpoint = ? ORDER BY created_at DESC, rowid DESC", guild_id, checkpoint)

    async def learning(self, guild_id: int, sha256: str) -> Finetune | None:
        """The guild's finetune under way that learns from that track."""
        return await self._first(
            "WHERE guild_id = ? AND state IN ('queued', 'running') "
            "AND finetune_id IN (SELECT finetune_id FROM finetune_tracks WHERE sha256 = ?)",
            guild_id,
            sha256,
        )

    async def create(
        self,
        *,
        finetune_id: str,
        guild_id: int,
        channel_id: int,
        member_id: int,
        name: str,
        recipe: str,
        base: str | None,
        token: str,
        tracks: Sequence[str],
        request: str,
    ) -> Finetune:
        """A new finetune of those tracks (SHA-256), queued. Raises FinetuneUnderWay, NameTaken."""
        key = name.casefold()
        async with self._database.transaction() as transaction:
            await ensure_guild(transaction, guild_id)
            if await transaction.one("SELECT 1 FROM finetunes WHERE guild_id = ? AND state IN ('queued', 'running')", guild_id):
                raise FinetuneUnderWay("A finetune is under way here already: wait for its end, or `/finetune cancel` it.")
            if await transaction.one("SELECT 1 FROM finetunes WHERE guild_id = ? AND name_key = ? AND state = 'done'", guild_id, key):
                raise NameTaken("There is a finetune of that name already: give this one another `name`.")
            values = {
                "finetune_id": finetune_id,
                "guild_id": guild_id,
                "channel_id": channel_id,
                "member_id": member_id,
                "name": name,
                "name_key": key,
                "recipe": recipe,
                "base": base,
                "token": token,
                "tracks": len(set(tracks)),
                "request": request,
                "created_at": to_text(now()),
            }
            await transaction.execute(
                f"INSERT INTO finetunes ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",  # noqa: S608 (names of ours)
                *values.values(),
            )
            for sha256 in sorted(set(tracks)):
                await transaction.execute("INSERT INTO finetune_tracks (finetune_id, sha256) VALUES (?, ?)", finetune_id, sha256)
            return await _must_read(transaction, finetune_id)

    async def attach_message(self, finetune_id: str, message_id: int) -> Finetune:
        """The message in which it is shown, from now on. Raises NotFound."""
        return await self._set(finetune_id, message_id=message_id)

    async def keep_forecast(self, finetune_id: str, forecast: str) -> Finetune:
        """Raises NotFound."""
        return await self._set(finetune_id, forecast=forecast)

    async def ask_cancel(self, finetune_id: str, member_id: int) -> Finetune:
        """Writes down that it is to end, whether or not the engine can be told right now. The first to ask stays. Raises NotFound."""
        async with self._database.transaction() as transaction:
            await transaction.execute(
                "UPDATE finetunes SET cancel_by = coalesce(cancel_by, ?) WHERE finetune_id = ? AND state IN ('queued', 'running')",
                member_id,
                finetune_id,
            )
            return await _must_read(transaction, finetune_id)

    async def start(self, finetune_id: str) -> Finetune:
        """queued → running: the engine has taken it. Raises NotFound, WrongState."""
        return await self._move(finetune_id, "running", ("queued",), started_at=to_text(now()))

    async def finish(self, finetune_id: str, *, checkpoint: str, gate: Gate | None, verdict: str, report: str | None) -> Finetune:
        """running → done. Where the gate was passed, guild's checkpoint and token are the finetune's from now on.

        Raises NotFound, WrongState.
        """
        async with self._database.transaction() as transaction:
            fields = {"checkpoint": checkpoint, "gate": gate, "verdict": verdict, "report": report}
            await _move(transaction, finetune_id, "done", ("running",), **_ended(), **fields)
            finetune = await _must_read(transaction, finetune_id)
            if gate == "passed":
                await change_settings(transaction, finetune.guild_id, checkpoint=checkpoint, token=finetune.token)
            return finetune

    async def fail(self, finetune_id: str, message: str) -> Finetune:
        """queued or running → failed; ``message`` says why, to its members. Raises NotFound, WrongState."""
        return await self._move(finetune_id, "failed", UNDER_WAY, error=message, **_ended())

    async def cancel(self, finetune_id: str) -> Finetune:
        """queued or running → cancelled. Raises NotFound, WrongState."""
        return await self._move(finetune_id, "cancelled", UNDER_WAY, **_ended())

    async def _move(self, finetune_id: str, to: FinetuneState, allowed: tuple[str, ...], **fields: str | None) -> Finetune:
        async with self._database.transaction() as transaction:
            await _move(transaction, finetune_id, to, allowed, **fields)
            return await _must_read(transaction, finetune_id)

    async def _set(self, finetune_id: str, **fields: Any) -> Finetune:
        async with self._database.transaction() as transaction:
            columns = ", ".join(f"{name} = ?" for name in fields)
            await transaction.execute(f"UPDATE finetunes SET {columns} WHERE finetune_id = ?", *fields.values(), finetune_id)  # noqa: S608 (names of ours)
            return await _must_read(transaction, finetune_id)

    async def _first(self, where: str, *parameters: Any) -> Finetune | None:
        found = await self._list(where, *parameters)
        return found[0] if found else None

    async def _list(self, where: str, *parameters: Any) -> FinetuneList:
        return [_finetune(row) for row in await self._database.all(f"SELECT * FROM finetunes {where}", *parameters)]  # noqa: S608 (SQL of ours)


def new_id() -> str:
    """For a finetune that is about to be created: its request names it."""
    return secrets.token_hex(8)


def _ended() -> dict[str, str | None]:
    return {"finished_at": to_text(now()), "request": None}


async def _read(reader: Reader, finetune_id: str) -> Finetune | None:
    row = await reader.one("SELECT * FROM finetunes WHERE finetune_id = ?", finetune_id)
    return _finetune(row) if row else None


async def _must_read(reader: Reader, finetune_id: str) -> Finetune:
    finetune = await _read(reader, finetune_id)
    if finetune is None:
        raise NotFound(f"there is no finetune {finetune_id}")
    return finetune


async def _move(transaction: Transaction, finetune_id: str, to: FinetuneState, allowed: tuple[str, ...], **fields: str | None) -> None:
    columns = ", ".join(f"{name} = ?" for name in fields)
    moved = await transaction.all(
        f"UPDATE finetunes SET state = ?, {columns} WHERE finetune_id = ? AND state IN ({', '.join('?' * len(allowed))}) "  # noqa: S608
        "RETURNING finetune_id",
        to,
        *fields.values(),
        finetune_id,
        *allowed,
    )
    if not moved:
        raise WrongState(finetune_id, (await _must_read(transaction, finetune_id)).state, to, what="finetune")


def _finetune(row: sqlite3.Row) -> Finetune:
    return Finetune(
        id=row["finetune_id"],
        guild_id=row["guild_id"],
        channel_id=row["channel_id"],
        member_id=row["member_id"],
        message_id=row["message_id"],
        name=row["name"],
        recipe=row["recipe"],
        base=row["base"],
        token=row["token"],
        tracks=row["tracks"],
        request=row["request"],
        forecast=row["forecast"],
        state=cast(FinetuneState, row["state"]),
        cancel_by=row["cancel_by"],
        error=row["error"],
        checkpoint=row["checkpoint"],
        gate=cast(Gate | None, row["gate"]),
        verdict=row["verdict"],
        report=row["report"],
        created_at=from_text(row["created_at"]),
        started_at=from_optional(row["started_at"]),
        finished_at=from_optional(row["finished_at"]),
    )
