"""Reactions ↔ ratings: 1️⃣ to 5️⃣ under a clip are its ratings, one a member.

The rule, in one line: **a member's rating is the number that they chose last among those that they still show.**

* A second number replaces the first. Where the bot has *Manage Messages* it takes the older reaction away; elsewhere it stays visible and
  doesn't count.
* Taking the counting number away lets an older one that is still there count again; without one, the rating is withdrawn.
* Several numbers given while the bot was away have no known order: none counts until all but one are gone. A stored rating that is
  still among them stays.
* Bots never count, nor does any other emoji.

Events are missed while the bot is away, so ``reconcile`` walks what Discord shows. Each message has a lock: its events apply in order.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from weakref import WeakValueDictionary

import aiohttp
import discord

from bot import clips
from bot.clips import SCORES
from storage import Store, Take
from storage.times import now

log = logging.getLogger(__name__)

CATCH_UP_S = 2.0
"""Longest that a command waits for reactions that are being written down."""

_SCORE_OF = {emoji: score for score, emoji in SCORES.items()}


def score_of(emoji: discord.PartialEmoji) -> int | None:
    """1 to 5 for the five keycaps, with or without the variation selector that some clients leave out; None for all else."""
    if emoji.id is not None:
        return None
    name = emoji.name
    return _SCORE_OF.get(name) or (_SCORE_OF.get(f"{name[0]}\ufe0f\u20e3") if len(name) == 2 and name[1] == "\u20e3" else None)


def settle(shown: set[int], stored: int | None, chosen: Sequence[int]) -> int | None:
    """The rating of a member who shows these numbers. ``chosen``: what they are known to have chosen, oldest first."""
    if stored in shown:
        return stored
    if len(shown) == 1:
        return next(iter(shown))
    return next((score for score in reversed(chosen) if score in shown), None)


class Ratings:
    def __init__(self, client: discord.Client, store: Store) -> None:
        self._client = client
        self._store = store
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self._applying: set[asyncio.Task[object]] = set()

    # ---- as it happens

    async def added(self, event: discord.RawReactionActionEvent) -> None:
        """One reaction more."""
        with self._noted():
            await self._added(event)

    async def removed(self, event: discord.RawReactionActionEvent) -> None:
        """One reaction fewer. Discord doesn't say whose, beyond the id: a bot's was never counted, so there is nothing to withdraw."""
        with self._noted():
            await self._removed(event)

    async def caught_up(self) -> None:
        """Waits until every reaction that has arrived by now is a rating: whoever rates and then asks for results sees both."""
        if self._applying:
            await asyncio.wait(set(self._applying), timeout=CATCH_UP_S)

    async def _added(self, event: discord.RawReactionActionEvent) -> None:
        score = score_of(event.emoji)
        if score is None or event.guild_id is None or self._is_bot(event):
            return
        async with self._lock(event.message_id):
            take = await self._rated_take(event.guild_id, event.message_id)
            if take is None:
                return
            before = {rating.member_id: rating.score for rating in await self._store.ratings.for_take(take.id)}.get(event.user_id)
            await self._store.ratings.rate(take.id, event.user_id, score)
        if before is not None and before != score and self._may_remove_reactions(event.guild_id, event.channel_id):
            await self._take_away(event, before)

    async def _removed(self, event: discord.RawReactionActionEvent) -> None:
        score = score_of(event.emoji)
        if score is None or event.guild_id is None or self._is_bot(event):
            return
        async with self._lock(event.message_id):
            take = await self._rated_take(event.guild_id, event.message_id)
            if take is None or not await self._store.ratings.withdraw(take.id, event.user_id, score):
                return
            older = await self._chosen(take.id, event.user_id)
            candidates = {chosen for chosen in older if chosen != score}
            if not candidates:
                return
            shown = await self._shown_by(event, candidates)
            left = settle(shown, None, older)
            if left is not None:
                await self._store.ratings.rate(take.id, event.user_id, left)

    async def cleared(self, guild_id: int | None, message_id: int) -> None:
        """A moderator removed all reactions, or all of one kind: look again."""
        if guild_id is not None and (take := await self._rated_take(guild_id, message_id)) is not None:
            await self.reconcile(take)

    # ---- what was missed

    async def reconcile_recent(self, *, days: int, limit: int) -> int:
        """Compares the newest clips with what Discord shows; returns how many ratings that changed. One clip's trouble is not another's."""
        changed = 0
        for take in await self._store.takes.recent_messages(since=now() - timedelta(days=days), limit=limit):
            try:
                changed += await self.reconcile(take)
            except discord.Forbidden:
                log.info("can't see the reactions of take %s: no permission there", take.id)
            except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
                log.warning("could not compare the reactions of take %s: %s", take.id, error)
        return changed

    async def reconcile(self, take: Take) -> int:
        """Makes one clip's ratings what its message shows, and puts back numbers of the scale that are missing under it."""
        assert take.message_id is not None and take.message_channel_id is not None
        async with self._lock(take.message_id):
            channel = self._client.get_partial_messageable(take.message_channel_id, guild_id=take.guild_id)
            try:
                message = await channel.fetch_message(take.message_id)
            except discord.NotFound:
                await self._store.takes.mark_message_deleted(take.message_id)
                return 0
            shown: defaultdict[int, set[int]] = defaultdict(set)
            scale = 0
            for reaction in message.reactions:
                score = _score_of_text(reaction.emoji)
                if score is None:
                    continue
                scale += reaction.me
                if reaction.count > int(reaction.me):  # the bot's own needs no walk
                    async for user in reaction.users(limit=None):
                        if not user.bot:
                            shown[user.id].add(score)
            stored = {rating.member_id: rating.score for rating in await self._store.ratings.for_take(take.id)}
            scores = {}
            for member_id, numbers in shown.items():
                known = await self._chosen(take.id, member_id) if len(numbers) > 1 else ()
                score = settle(numbers, stored.get(member_id), known)
                if score is not None:
                    scores[member_id] = score
            changes = await self._store.ratings.reconcile(take.id, scores)
        if scale < len(SCORES):
            await clips.add_scale(channel.get_partial_message(take.message_id))
        return len(changes.added) + len(changes.changed) + len(changes.withdrawn)

    # ---- small parts

    @contextmanager
    def _noted(self) -> Iterator[None]:
        task = asyncio.current_task()
        assert task is not None
        self._applying.add(task)
        try:
            yield
        finally:
            self._applying.discard(task)

    def _lock(self, message_id: int) -> asyncio.Lock:
        return self._locks.setdefault(message_id, asyncio.Lock())

    def _is_bot(self, event: discord.RawReactionActionEvent) -> bool:
        me = self._client.user
        return (me is not None and event.user_id == me.id) or (event.member is not None and event.member.bot)

    async def _rated_take(self, guild_id: int, message_id: int) -> Take | None:
        take = await self._store.takes.by_message(guild_id, message_id)
        return take if take is not None and take.clip is not None else None

    async def _chosen(self, take_id: str, member_id: int) -> list[int]:
        history = await self._store.ratings.history(take_id)
        return [event.score for event in history if event.member_id == member_id and event.score is not None]

    def _may_remove_reactions(self, guild_id: int, channel_id: int) -> bool:
        guild = self._client.get_guild(guild_id)
        channel = guild.get_channel_or_thread(channel_id) if guild else None
        return guild is not None and guild.me is not None and channel is not None and channel.permissions_for(guild.me).manage_messages

    async def _take_away(self, event: discord.RawReactionActionEvent, score: int) -> None:
        message = self._client.get_partial_messageable(event.channel_id, guild_id=event.guild_id).get_partial_message(event.message_id)
        try:
            await message.remove_reaction(SCORES[score], discord.Object(event.user_id))
        except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
            log.info("could not take an older rating's reaction away: %s", error)

    async def _shown_by(self, event: discord.RawReactionActionEvent, candidates: set[int]) -> set[int]:
        """Which of these numbers a member still shows. Nothing, where the bot can't look."""
        channel = self._client.get_partial_messageable(event.channel_id, guild_id=event.guild_id)
        shown: set[int] = set()
        try:
            message = await channel.fetch_message(event.message_id)
            for reaction in message.reactions:
                score = _score_of_text(reaction.emoji)
                if score is not None and score in candidates:
                    # Users come by ascending id: the first one after id − 1 is this member or somebody else.
                    async for user in reaction.users(limit=1, after=discord.Object(event.user_id - 1)):
                        if user.id == event.user_id:
                            shown.add(score)
        except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
            log.info("could not look for an older rating: %s", error)
        return shown


def _score_of_text(emoji: object) -> int | None:
    return score_of(discord.PartialEmoji(name=emoji)) if isinstance(emoji, str) and emoji else None
