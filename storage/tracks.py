"""The tracks of each guild's crate. Their bytes are in ``blobs``; here is what is known about them.

A track is once in a guild, by its bytes. Removing it forgets it: no take of the guild holds on to its bytes any longer.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime

from storage.database import Database, Transaction
from storage.guilds import ensure_guild
from storage.times import from_text, now, to_text

DEFAULT_CRATE = "crate"


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
    created: bool = False
    """True only in the answer of the ``add`` that made it."""


TrackList = list[Track]  # inside Tracks, `list` is a method


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
                "ON CONFLICT (guild_id, sha256) DO NOTHING RETURNING *",
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
            if rows:
                return _track(rows[0], created=True)
            row = await transaction.one("SELECT * FROM tracks WHERE guild_id = ? AND sha256 = ?", guild_id, sha256)
            assert row is not None
            return _track(row)

    async def list(self, guild_id: int, *, limit: int = 25, offset: int = 0) -> TrackList:
        """A page of the crate, newest first."""
        rows = await self._database.all(
            "SELECT * FROM tracks WHERE guild_id = ? ORDER BY track_id DESC LIMIT ? OFFSET ?", guild_id, max(limit, 0), max(offset, 0)
        )
        return [_track(row) for row in rows]

    async def count(self, guild_id: int) -> int:
        row = await self._database.one("SELECT count(*) FROM tracks WHERE guild_id = ?", guild_id)
        return int(row[0]) if row else 0

    async def get(self, guild_id: int, track_id: int) -> Track | None:
        row = await self._database.one("SELECT * FROM tracks WHERE guild_id = ? AND track_id = ?", guild_id, track_id)
        return _track(row) if row else None

    async def search(self, guild_id: int, text: str, limit: int = 25) -> TrackList:
        """Tracks whose artist, title or file name has every word of ``text`` in it, newest first; no words find all."""
        words = text.casefold().split()[:16]
        rows = await self._database.all(
            f"SELECT * FROM tracks WHERE guild_id = ? {'AND instr(search_text, ?) ' * len(words)}ORDER BY track_id DESC LIMIT ?",  # noqa: S608
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


async def _ensure_crate(transaction: Transaction, guild_id: int) -> int:
    await transaction.execute(
        "INSERT INTO crates (guild_id, name, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", guild_id, DEFAULT_CRATE, to_text(now())
    )
    row = await transaction.one("SELECT crate_id FROM crates WHERE guild_id = ? AND name = ?", guild_id, DEFAULT_CRATE)
    assert row is not None
    return int(row["crate_id"])


def _track(row: sqlite3.Row, *, created: bool = False) -> Track:
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
        created=created,
    )
