"""The tracks of each guild's crate. Their bytes are in ``blobs``; here is what is known about them, and what was heard in them.

A track is once in a guild, by its bytes. Removing it forgets it: no take of the guild holds on to its bytes any longer, what was heard
in it goes with it, and when no other guild has it either, its hash waits in ``to_forget`` until the engine has forgotten it too.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, fields, replace
from datetime import datetime

from storage.database import Database, Transaction
from storage.guilds import ensure_guild
from storage.times import from_text, now, to_text

DEFAULT_CRATE = "crate"


@dataclass(frozen=True, slots=True)
class Heard:
    """What an analysis found in a track, as far as lists show it. A source says where a value is from, such as 'detected'."""

    version: int
    """Of the engine's analysis."""
    bpm: float | None = None
    """None where there is no beat."""
    bpm_source: str | None = None
    steady: bool | None = None
    key_name: str | None = None
    """``A minor``; None where no key is clear."""
    camelot: str | None = None
    key_source: str | None = None
    lufs: float | None = None


@dataclass(frozen=True, slots=True)
class Track:
    id: int
    guild_id: int
    member_id: int
    """Who added it."""
    sha256: str
    filename: str
    title: str | None
    artist: str | None
    duration_s: float
    sample_rate: int
    channels: int
    codec: str
    size_bytes: int
    added_at: datetime
    heard: Heard | None = None
    """None before it was analysed."""
    created: bool = False
    """True only in the answer of the ``add`` that made it."""


TrackList = list[Track]  # inside Tracks, `list` is a method
Hashes = list[str]

_HEARD = tuple(field.name for field in fields(Heard))
_SELECT = (
    f"SELECT t.*, {', '.join(f'a.{name} AS heard_{name}' for name in _HEARD)} "  # noqa: S608 (column names of ours)
    "FROM tracks t LEFT JOIN analyses a USING (track_id) "
)


class Tracks:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        guild_id: int,
        member_id: int,
        *,
        sha256: str,
        filename: str,
        title: str | None,
        artist: str | None,
        duration_s: float,
        sample_rate: int,
        channels: int,
        codec: str,
        size_bytes: int,
    ) -> Track:
        """Puts a track in the guild's crate. The same bytes again give the row that is there, with ``created`` False."""
        async with self._database.transaction() as transaction:
            await ensure_guild(transaction, guild_id)
            crate_id = await _ensure_crate(transaction, guild_id)
            rows = await transaction.all(
                "INSERT INTO tracks (guild_id, crate_id, member_id, sha256, filename, title, artist, search_text, duration_s, sample_rate, "
                "channels, codec, size_bytes, added_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (guild_id, sha256) DO NOTHING RETURNING track_id",
                guild_id,
                crate_id,
                member_id,
                sha256,
                filename,
                title,
                artist,
                " ".join(filter(None, (artist, title, filename))).casefold(),
                duration_s,
                sample_rate,
                channels,
                codec,
                size_bytes,
                to_text(now()),
            )
            row = await transaction.one(f"{_SELECT}WHERE t.guild_id = ? AND t.sha256 = ?", guild_id, sha256)
            assert row is not None
            return replace(_track(row), created=bool(rows))

    async def list(self, guild_id: int, *, limit: int = 25, offset: int = 0) -> TrackList:
        """A page of the crate, newest first."""
        rows = await self._database.all(
            f"{_SELECT}WHERE t.guild_id = ? ORDER BY t.track_id DESC LIMIT ? OFFSET ?", guild_id, max(limit, 0), max(offset, 0)
        )
        return [_track(row) for row in rows]

    async def count(self, guild_id: int) -> int:
        row = await self._database.one("SELECT count(*) FROM tracks WHERE guild_id = ?", guild_id)
        return int(row[0]) if row else 0

    async def get(self, guild_id: int, track_id: int) -> Track | None:
        row = await self._database.one(f"{_SELECT}WHERE t.guild_id = ? AND t.track_id = ?", guild_id, track_id)
        return _track(row) if row else None

    async def search(self, guild_id: int, text: str, limit: int = 25) -> TrackList:
        """Tracks whose artist, title or file name has every word of ``text`` in it, newest first; no words find all."""
        words = text.casefold().split()[:16]
        rows = await self._database.all(
            f"{_SELECT}WHERE t.guild_id = ? {'AND instr(t.search_text, ?) ' * len(words)}ORDER BY t.track_id DESC LIMIT ?",
            guild_id,
            *words,
            max(limit, 0),
        )
        return [_track(row) for row in rows]

    async def remove(self, guild_id: int, track_id: int) -> bool:
        """Forgets a track; False when the guild has none of that id. A take of it that is under way still gets its audio."""
        async with self._database.transaction() as transaction:
            row = await transaction.one("DELETE FROM tracks WHERE guild_id = ? AND track_id = ? RETURNING sha256", guild_id, track_id)
            if row is None:
                return False
            await transaction.execute(
                "UPDATE takes SET track_forgotten = 1 WHERE guild_id = ? AND track_sha256 = ?", guild_id, row["sha256"]
            )
            return True

    async def hashes(self, guild_id: int) -> Hashes:
        """SHA-256 of every track of the guild, oldest first."""
        rows = await self._database.all("SELECT sha256 FROM tracks WHERE guild_id = ? ORDER BY track_id", guild_id)
        return [row["sha256"] for row in rows]

    async def by_hash(self, guild_id: int, sha256: str) -> Track | None:
        row = await self._database.one(f"{_SELECT}WHERE t.guild_id = ? AND t.sha256 = ?", guild_id, sha256)
        return _track(row) if row else None

    # ---- what was heard

    async def keep_heard(self, guild_id: int, track_id: int, heard: Heard) -> bool:
        """Writes down what was heard, in place of what was before. False when the guild has no such track (any more)."""
        columns, marks = ", ".join(_HEARD), ", ".join("?" * len(_HEARD))
        async with self._database.transaction() as transaction:
            if await transaction.one("SELECT 1 FROM tracks WHERE guild_id = ? AND track_id = ?", guild_id, track_id) is None:
                return False
            await transaction.execute(
                f"INSERT OR REPLACE INTO analyses (track_id, {columns}, analysed_at) VALUES (?, {marks}, ?)",  # noqa: S608 (names of ours)
                track_id,
                *(getattr(heard, name) for name in _HEARD),
                to_text(now()),
            )
            return True

    async def unheard(self, *, after: int = 0, limit: int = 1, version: int = 0) -> TrackList:
        """Tracks of every guild that nobody has listened to, in the order of their ids, from those above ``after`` on.

        Those that were heard by an analysis older than ``version`` are among them.
        """
        rows = await self._database.all(
            f"{_SELECT}WHERE coalesce(a.version, -1) < ? AND t.track_id > ? ORDER BY t.track_id LIMIT ?", version, after, max(limit, 0)
        )
        return [_track(row) for row in rows]

    # ---- what the engine is still to forget

    async def to_forget(self) -> Hashes:
        """Hashes that no crate holds any more, but for those that a take or a finetune under way still needs."""
        rows = await self._database.all(
            "SELECT sha256 FROM engine_forgets f WHERE NOT EXISTS "
            "(SELECT 1 FROM takes t WHERE t.track_sha256 = f.sha256 AND t.state IN ('queued', 'running')) "
            "AND NOT EXISTS (SELECT 1 FROM finetune_tracks n WHERE n.sha256 = f.sha256) ORDER BY sha256"
        )
        return [row["sha256"] for row in rows]

    async def forgotten(self, sha256: str) -> None:
        """The engine has let go of it."""
        async with self._database.transaction() as transaction:
            await transaction.execute("DELETE FROM engine_forgets WHERE sha256 = ?", sha256)


async def _ensure_crate(transaction: Transaction, guild_id: int) -> int:
    await transaction.execute(
        "INSERT INTO crates (guild_id, name, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", guild_id, DEFAULT_CRATE, to_text(now())
    )
    row = await transaction.one("SELECT crate_id FROM crates WHERE guild_id = ? AND name = ?", guild_id, DEFAULT_CRATE)
    assert row is not None
    return int(row["crate_id"])


def _track(row: sqlite3.Row) -> Track:
    return Track(
        id=row["track_id"],
        guild_id=row["guild_id"],
        member_id=row["member_id"],
        sha256=row["sha256"],
        filename=row["filename"],
        title=row["title"],
        artist=row["artist"],
        duration_s=row["duration_s"],
        sample_rate=row["sample_rate"],
        channels=row["channels"],
        codec=row["codec"],
        size_bytes=row["size_bytes"],
        added_at=from_text(row["added_at"]),
        heard=None if row["heard_version"] is None else _heard(row),
    )


def _heard(row: sqlite3.Row) -> Heard:
    found = {name: row[f"heard_{name}"] for name in _HEARD}
    return Heard(**found | {"steady": None if found["steady"] is None else bool(found["steady"])})
