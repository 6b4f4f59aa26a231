"""Takes: each request for music, from the moment it is asked to the one end that it comes to.

::

    create ─▶ queued ──start──▶ running ──keep_clip──▶ running, with a clip ──finish──▶ done
                │                  │                        │
                └──────────────────┴── fail | cancel ───────┘        attach_message: any time before the end

``finish`` wants both the clip and a message, so a take that is done can be seen by somebody. After a crash ``unfinished`` gives what
was under way: with a clip and no message it only needs posting. SQL enforces the picture (``migrations/0001_start.sql``).
Not here: ratings of clips (``ratings``), their bytes (``blobs``), which category they fall in (``categories``).
"""

from __future__ import annotations

import secrets
import sqlite3
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal, cast

from storage.categories import Category, CheckpointKind, PromptKind, category, prompt_kind
from storage.database import Database, Reader, Transaction
from storage.errors import NotFound, StorageError, WrongState
from storage.guilds import ensure_guild, read_settings
from storage.times import from_optional, from_text, now, to_text

__all__ = ["Clip", "NotFound", "Take", "TakeKind", "TakeState", "Takes", "WrongState"]

TakeKind = Literal["text", "continuation", "unconditional"]
TakeState = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """Generated audio. The three hashes name blobs: lossless, what the listener's client got, the picture of it."""

    sha256: str
    extension: str = "flac"
    delivery_sha256: str
    delivery_extension: str
    picture_sha256: str
    duration_s: float
    seam_s: float | None = None
    """Where the new audio begins, for a continuation."""
    sample_rate: int
    channels: int
    loudness_lufs: float | None = None
    peak_dbfs: float | None = None
    generate_s: float | None = None
    track_bpm: float | None = None
    """Tempo and key of what is continued, where they are known."""
    track_key: str | None = None
    heard_bpm: float | None = None
    """Tempo and key of the new audio, by analysis; keys are written as 'A minor'."""
    heard_key: str | None = None
    loop_bars: int | None = None
    loop_bpm: float | None = None
    """Exactly what a loop repeats at; ``loop_own_bpm`` is its tempo before it was stretched."""
    loop_own_bpm: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    id: str
    guild_id: int
    channel_id: int
    """Where it was asked for."""
    member_id: int
    kind: TakeKind
    prompt: str
    prompt_kind: PromptKind
    seconds: float
    """Asked length; with ``bars``, what they come to at the asked or a usual tempo."""
    bpm: float | None
    key: str | None
    """Asked by option, as 'A minor'."""
    bars: int | None
    loop: bool
    seed: int | None
    guidance_scale: float | None
    temperature: float | None
    strength: float | None
    """Of a finetune's adapter: the asked one until the clip is kept, then the one that made it. None: its own, or no adapter."""
    checkpoint: str | None
    """The asked one (None: the default) until the clip is kept, then the one that made it."""
    checkpoint_kind: CheckpointKind | None
    category: Category | None
    track_sha256: str | None
    track_name: str | None
    from_s: float | None
    prompt_seconds: float | None
    parent_take_id: str | None
    state: TakeState
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    message_id: int | None
    message_channel_id: int | None
    message_deleted_at: datetime | None
    clip: Clip | None

    @property
    def ended(self) -> bool:
        return self.state in ("done", "failed", "cancelled")


_CLIP_COLUMNS = tuple(field.name for field in fields(Clip))
_SELECT = (
    "SELECT t.*, m.channel_id AS message_channel_id, m.deleted_at AS message_deleted_at, "  # noqa: S608 (column names of ours)
    f"{', '.join(f'c.{name} AS clip_{name}' for name in _CLIP_COLUMNS)} "
    "FROM takes t LEFT JOIN messages m ON m.message_id = t.message_id LEFT JOIN clips c ON c.take_id = t.take_id "
)


class Takes:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, take_id: str) -> Take | None:
        """For the process's own use. What a member names goes through ``get_for_guild``."""
        return await _read(self._database, take_id)

    async def get_for_guild(self, guild_id: int, take_id: str) -> Take | None:
        return await self._first("WHERE t.guild_id = ? AND t.take_id = ?", guild_id, take_id)

    async def by_message(self, guild_id: int, message_id: int) -> Take | None:
        """The take whose present message this is."""
        return await self._first("WHERE t.guild_id = ? AND t.message_id = ?", guild_id, message_id)

    async def queue(self, guild_id: int) -> list[Take]:
        """Waiting and running takes of a guild, in the order in which they were asked for."""
        return await self._list("WHERE t.guild_id = ? AND t.state IN ('queued', 'running') ORDER BY t.created_at, t.rowid", guild_id)

    async def unfinished(self) -> list[Take]:
        """What was under way, in every guild, oldest first: at start-up, what the last run left behind."""
        return await self._list("WHERE t.state IN ('queued', 'running') ORDER BY t.created_at, t.rowid")

    async def recent_messages(self, *, since: datetime | None = None, limit: int = 200) -> list[Take]:
        """Takes that are done and whose message is still there, in every guild, newest first: what to reconcile ratings of."""
        return await self._list(
            "WHERE t.state = 'done' AND m.deleted_at IS NULL AND t.finished_at >= ? ORDER BY t.finished_at DESC, t.rowid DESC LIMIT ?",
            to_text(since) if since else "",
            max(limit, 0),
        )

    async def create(
        self,
        *,
        guild_id: int,
        channel_id: int,
        member_id: int,
        kind: TakeKind,
        prompt: str = "",
        seconds: float,
        bpm: float | None = None,
        key: str | None = None,
        bars: int | None = None,
        loop: bool = False,
        seed: int | None = None,
        guidance_scale: float | None = None,
        temperature: float | None = None,
        strength: float | None = None,
        checkpoint: str | None = None,
        track_sha256: str | None = None,
        track_name: str | None = None,
        from_s: float | None = None,
        prompt_seconds: float | None = None,
        parent_take_id: str | None = None,
    ) -> Take:
        """A new take, queued. What kind of prompt it is follows from the guild's token of this moment.

        A tempo or key asked for is named to the model behind the prompt, so that "techno" is then no longer just "techno".
        """
        take_id = secrets.token_hex(8)
        async with self._database.transaction() as transaction:
            await ensure_guild(transaction, guild_id)
            token = (await read_settings(transaction, guild_id)).token
            asked = prompt_kind(prompt, token)
            values = {
                "take_id": take_id,
                "guild_id": guild_id,
                "channel_id": channel_id,
                "member_id": member_id,
                "kind": kind,
                "prompt": prompt,
                "prompt_kind": "other" if asked == "plain" and (bpm is not None or key is not None) else asked,
                "seconds": seconds,
                "bpm": bpm,
                "key_name": key,
                "bars": bars,
                "loop": int(loop),
                "seed": seed,
                "guidance_scale": guidance_scale,
                "temperature": temperature,
                "strength": strength,
                "checkpoint": checkpoint,
                "track_sha256": track_sha256,
                "track_name": track_name,
                "from_s": from_s,
                "prompt_seconds": prompt_seconds,
                "parent_take_id": parent_take_id,
                "created_at": to_text(now()),
            }
            await _insert(transaction, "takes", values)
            return await _must_read(transaction, take_id)

    async def start(self, take_id: str) -> Take:
        """queued → running. Raises NotFound, WrongState."""
        async with self._database.transaction() as transaction:
            await _move(transaction, take_id, "running", "started_at = ?", to_text(now()), allowed=("queued",))
            return await _must_read(transaction, take_id)

    async def keep_clip(
        self,
        take_id: str,
        clip: Clip,
        *,
        seed: int,
        checkpoint: str,
        checkpoint_kind: CheckpointKind,
        strength: float | None = None,
    ) -> Take:
        """Writes down what a running take has made, before it is posted. Raises NotFound, WrongState."""
        async with self._database.transaction() as transaction:
            take = await _must_read(transaction, take_id)
            if take.state != "running" or take.clip is not None:
                raise WrongState(take_id, "with a clip" if take.clip else take.state, "with a clip")
            await _insert(
                transaction,
                "clips",
                {"take_id": take_id, "kept_at": to_text(now())} | {name: getattr(clip, name) for name in _CLIP_COLUMNS},
            )
            await transaction.execute(
                "UPDATE takes SET seed = ?, checkpoint = ?, checkpoint_kind = ?, strength = ?, category = ? WHERE take_id = ?",
                seed,
                checkpoint,
                checkpoint_kind,
                strength,
                category(take.prompt_kind, checkpoint_kind, strength),
                take_id,
            )
            return await _must_read(transaction, take_id)

    async def attach_message(self, take_id: str, message_id: int, channel_id: int) -> Take:
        """The message in which the take is shown, from now on; an earlier one of the same take is let go.

        Right after posting, and before ``finish``. The same message again changes nothing. Raises NotFound, WrongState, and
        StorageError when the message shows another take.
        """
        async with self._database.transaction() as transaction:
            take = await _must_read(transaction, take_id)
            if take.message_id == message_id:
                return take
            if take.ended:
                raise WrongState(take_id, take.state, "shown in another message")
            await transaction.execute(
                "INSERT INTO messages (message_id, take_id, channel_id, attached_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                message_id,
                take_id,
                channel_id,
                to_text(now()),
            )
            shown = await transaction.one("SELECT take_id FROM messages WHERE message_id = ?", message_id)
            if shown is None or shown["take_id"] != take_id:
                raise StorageError(f"message {message_id} shows another take: give each its own")
            await transaction.execute("UPDATE takes SET message_id = ? WHERE take_id = ?", message_id, take_id)
            return await _must_read(transaction, take_id)

    async def finish(self, take_id: str) -> Take:
        """running → done, with a clip kept and a message attached. Raises NotFound, WrongState."""
        async with self._database.transaction() as transaction:
            take = await _must_read(transaction, take_id)
            if take.state == "running" and (take.clip is None or take.message_id is None):
                raise WrongState(take_id, "running without a clip" if take.clip is None else "running without a message", "done")
            await _move(transaction, take_id, "done", "finished_at = ?", to_text(now()), allowed=("running",))
            return await _must_read(transaction, take_id)

    async def fail(self, take_id: str, message: str) -> Take:
        """queued or running → failed; ``message`` says why, to the member. Raises NotFound, WrongState."""
        async with self._database.transaction() as transaction:
            await _move(
                transaction, take_id, "failed", "finished_at = ?, error = ?", to_text(now()), message, allowed=("queued", "running")
            )
            return await _must_read(transaction, take_id)

    async def cancel(self, take_id: str) -> Take:
        """queued or running → cancelled. Raises NotFound, WrongState."""
        async with self._database.transaction() as transaction:
            await _move(transaction, take_id, "cancelled", "finished_at = ?", to_text(now()), allowed=("queued", "running"))
            return await _must_read(transaction, take_id)

    async def mark_message_deleted(self, message_id: int) -> Take | None:
        """The message is gone: its clip leaves the results, its ratings' history stays. None when it is no take's message."""
        async with self._database.transaction() as transaction:
            row = await transaction.one(
                "UPDATE messages SET deleted_at = coalesce(deleted_at, ?) WHERE message_id = ? RETURNING take_id",
                to_text(now()),
                message_id,
            )
            return await _must_read(transaction, row["take_id"]) if row else None

    async def _first(self, where: str, *parameters: Any) -> Take | None:
        takes = await self._list(where, *parameters)
        return takes[0] if takes else None

    async def _list(self, where: str, *parameters: Any) -> list[Take]:
        return [_take(row) for row in await self._database.all(_SELECT + where, *parameters)]


async def _read(reader: Reader, take_id: str) -> Take | None:
    row = await reader.one(_SELECT + "WHERE t.take_id = ?", take_id)
    return _take(row) if row else None


async def _must_read(reader: Reader, take_id: str) -> Take:
    take = await _read(reader, take_id)
    if take is None:
        raise NotFound(f"there is no take {take_id}")
    return take


async def _move(transaction: Transaction, take_id: str, to: TakeState, also: str, *values: Any, allowed: tuple[TakeState, ...]) -> None:
    marks = ", ".join("?" * len(allowed))
    moved = await transaction.all(
        f"UPDATE takes SET state = ?, {also} WHERE take_id = ? AND state IN ({marks}) RETURNING take_id",  # noqa: S608 (SQL of ours)
        to,
        *values,
        take_id,
        *allowed,
    )
    if not moved:
        raise WrongState(take_id, (await _must_read(transaction, take_id)).state, to)


async def _insert(transaction: Transaction, table: str, values: dict[str, Any]) -> None:
    names = ", ".join(values)
    marks = ", ".join("?" * len(values))
    await transaction.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", *values.values())  # noqa: S608 (names of ours)


def _take(row: sqlite3.Row) -> Take:
    clip = None
    if row["clip_sha256"] is not None:
        clip = Clip(**{name: row[f"clip_{name}"] for name in _CLIP_COLUMNS})
    return Take(
        id=row["take_id"],
        guild_id=row["guild_id"],
        channel_id=row["channel_id"],
        member_id=row["member_id"],
        kind=cast(TakeKind, row["kind"]),
        prompt=row["prompt"],
        prompt_kind=cast(PromptKind, row["prompt_kind"]),
        seconds=row["seconds"],
        bpm=row["bpm"],
        key=row["key_name"],
        bars=row["bars"],
        loop=bool(row["loop"]),
        seed=row["seed"],
        guidance_scale=row["guidance_scale"],
        temperature=row["temperature"],
        strength=row["strength"],
        checkpoint=row["checkpoint"],
        checkpoint_kind=cast(CheckpointKind | None, row["checkpoint_kind"]),
        category=cast(Category | None, row["category"]),
        track_sha256=row["track_sha256"],
        track_name=row["track_name"],
        from_s=row["from_s"],
        prompt_seconds=row["prompt_seconds"],
        parent_take_id=row["parent_take_id"],
        state=cast(TakeState, row["state"]),
        error=row["error"],
        created_at=from_text(row["created_at"]),
        started_at=from_optional(row["started_at"]),
        finished_at=from_optional(row["finished_at"]),
        message_id=row["message_id"],
        message_channel_id=row["message_channel_id"],
        message_deleted_at=from_optional(row["message_deleted_at"]),
        clip=clip,
    )
