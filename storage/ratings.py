"""Ratings: one score a member and clip, the latest counts; all that ever happened to it stays in ``rating_events``.

Everything here is idempotent, since Discord may tell of the same reaction twice. A clip whose message was deleted leaves ``results`` and
``export_rows``; its ratings and their history stay in the database.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from storage.categories import CATEGORIES, Category
from storage.database import Database, Transaction
from storage.errors import NotFound
from storage.intervals import HIGHEST_SCORE, LOWEST_SCORE, Scored, estimate
from storage.times import from_text, now, to_text

Source = Literal["member", "reconcile"]

_POSTED = (
    "JOIN takes t USING (take_id) JOIN messages m ON m.message_id = t.message_id "
    "WHERE t.guild_id = ? AND t.state = 'done' AND m.deleted_at IS NULL"
)


@dataclass(frozen=True, slots=True)
class Rating:
    take_id: str
    member_id: int
    score: int
    rated_at: datetime


@dataclass(frozen=True, slots=True)
class RatingEvent:
    """One line of a rating's history; ``score`` None is a withdrawal."""

    take_id: str
    member_id: int
    score: int | None
    source: Source
    at: datetime


@dataclass(frozen=True, slots=True)
class Changes:
    """What ``reconcile`` did, by member."""

    added: dict[int, int] = field(default_factory=dict)
    changed: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Old score, new score."""
    withdrawn: dict[int, int] = field(default_factory=dict)
    """The score that was."""

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.withdrawn)


@dataclass(frozen=True, slots=True)
class CategoryResult:
    category: Category
    clips: int
    """Posted and still there, rated or not."""
    ratings: int
    members: int
    """How many people gave them."""
    mean: float | None
    low: float | None
    high: float | None
    """95 % interval of the mean (``intervals``); None where there are too few clips or members to say."""


@dataclass(frozen=True, slots=True)
class ExportRow:
    """One rating. ``member`` is a pseudonym: the same within a guild, unrelated in another."""

    take_id: str
    category: Category
    prompt: str
    checkpoint: str
    strength: float | None
    """Of the finetune's adapter, where one was asked for."""
    seed: int
    score: int
    rated_at: datetime
    member: str


class Ratings:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def rate(self, take_id: str, member_id: int, score: int, at: datetime | None = None) -> bool:
        """Sets a member's score; False when it was that already. Raises ValueError off the scale, NotFound for a take without a clip."""
        async with self._database.transaction() as transaction:
            await _must_have_clip(transaction, take_id)
            before = (await _scores(transaction, take_id)).get(member_id)
            if before == score:
                return False
            await _set(transaction, take_id, member_id, score, source="member", at=at or now())
            return True

    async def withdraw(self, take_id: str, member_id: int, score: int | None = None, at: datetime | None = None) -> bool:
        """Takes a rating back; False when there was none.

        With ``score``, only if that is the present one: whoever went from 3 to 5 and then removes the old 3 keeps the 5.
        """
        async with self._database.transaction() as transaction:
            before = (await _scores(transaction, take_id)).get(member_id)
            if before is None or (score is not None and score != before):
                return False
            await _set(transaction, take_id, member_id, None, source="member", at=at or now())
            return True

    async def reconcile(self, take_id: str, scores: Mapping[int, int], at: datetime | None = None) -> Changes:
        """Makes the take's ratings equal to ``scores`` and returns what that changed. Raises like ``rate``; then nothing is changed."""
        async with self._database.transaction() as transaction:
            await _must_have_clip(transaction, take_id)
            before = await _scores(transaction, take_id)
            changes = Changes(
                added={member: score for member, score in scores.items() if member not in before},
                changed={member: (before[member], score) for member, score in scores.items() if before.get(member, score) != score},
                withdrawn={member: score for member, score in before.items() if member not in scores},
            )
            moment = at or now()
            for member in (*changes.added, *changes.changed, *changes.withdrawn):
                await _set(transaction, take_id, member, scores.get(member), source="reconcile", at=moment)
            return changes

    async def for_take(self, take_id: str) -> list[Rating]:
        """Present ratings of a take, oldest first."""
        rows = await self._database.all("SELECT * FROM ratings WHERE take_id = ? ORDER BY rated_at, member_id", take_id)
        return [Rating(row["take_id"], row["member_id"], row["score"], from_text(row["rated_at"])) for row in rows]

    async def history(self, take_id: str) -> list[RatingEvent]:
        """All that ever happened to a take's ratings, in order."""
        rows = await self._database.all("SELECT * FROM rating_events WHERE take_id = ? ORDER BY event_id", take_id)
        return [RatingEvent(row["take_id"], row["member_id"], row["score"], row["source"], from_text(row["at"])) for row in rows]

    async def results(self, guild_id: int) -> list[CategoryResult]:
        """A guild's five categories, A to D and 'other', each always present."""
        clips = {
            row["category"]: row["clips"]
            for row in await self._database.all(f"SELECT t.category, count(*) AS clips FROM clips {_POSTED} GROUP BY t.category", guild_id)  # noqa: S608
        }
        ratings: defaultdict[str, list[Scored]] = defaultdict(list)
        for row in await self._database.all(
            f"SELECT t.category, r.take_id, r.member_id, r.score FROM ratings r {_POSTED} ORDER BY r.take_id, r.member_id",  # noqa: S608
            guild_id,
        ):
            ratings[row["category"]].append(Scored(row["take_id"], row["member_id"], row["score"]))
        return [
            CategoryResult(
                category,
                clips.get(category, 0),
                len(ratings[category]),
                len({rating.member for rating in ratings[category]}),
                *estimate(ratings[category]),
            )
            for category in CATEGORIES
        ]

    async def export_rows(self, guild_id: int) -> list[ExportRow]:
        """Every rating that ``results`` counts, oldest first. ``export.to_csv`` makes a file of them."""
        guild = await self._database.one("SELECT salt FROM guilds WHERE guild_id = ?", guild_id)
        if guild is None:
            return []
        rows = await self._database.all(
            "SELECT r.take_id, t.category, t.prompt, t.checkpoint, t.strength, t.seed, r.score, r.rated_at, r.member_id "  # noqa: S608
            f"FROM ratings r {_POSTED} ORDER BY r.rated_at, r.take_id, r.member_id",
            guild_id,
        )
        return [
            ExportRow(
                take_id=row["take_id"],
                category=row["category"],
                prompt=row["prompt"],
                checkpoint=row["checkpoint"],
                strength=row["strength"],
                seed=row["seed"],
                score=row["score"],
                rated_at=from_text(row["rated_at"]),
                member=pseudonym(guild["salt"], row["member_id"]),
            )
            for row in rows
        ]


def pseudonym(salt: bytes, member_id: int) -> str:
    """Sixteen hex digits that stand for a member. Without the salt nobody can try Discord's ids one by one."""
    return hmac.new(salt, str(member_id).encode(), hashlib.sha256).hexdigest()[:16]


async def _must_have_clip(transaction: Transaction, take_id: str) -> None:
    if await transaction.one("SELECT 1 FROM clips WHERE take_id = ?", take_id) is None:
        raise NotFound(f"there is no clip of a take {take_id} to rate")


async def _scores(transaction: Transaction, take_id: str) -> dict[int, int]:
    rows = await transaction.all("SELECT member_id, score FROM ratings WHERE take_id = ?", take_id)
    return {row["member_id"]: row["score"] for row in rows}


async def _set(transaction: Transaction, take_id: str, member_id: int, score: int | None, *, source: Source, at: datetime) -> None:
    """The present score (None: none) and its line of history."""
    if score is None:
        await transaction.execute("DELETE FROM ratings WHERE take_id = ? AND member_id = ?", take_id, member_id)
    else:
        if not LOWEST_SCORE <= score <= HIGHEST_SCORE:
            raise ValueError(f"a score is a number from {LOWEST_SCORE} to {HIGHEST_SCORE}, not {score}")
        await transaction.execute(
            "INSERT INTO ratings (take_id, member_id, score, rated_at) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (take_id, member_id) DO UPDATE SET score = excluded.score, rated_at = excluded.rated_at",
            take_id,
            member_id,
            score,
            to_text(at),
        )
    await transaction.execute(
        "INSERT INTO rating_events (take_id, member_id, score, source, at) VALUES (?, ?, ?, ?, ?)",
        take_id,
        member_id,
        score,
        source,
        to_text(at),
    )
