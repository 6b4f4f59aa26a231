"""Takes under way: from a checked order to exactly one end, a posted clip or a message that says why not.

::

    begin ─▶ row 'queued' ─▶ message ─▶ track to the engine ─▶ events: queued, progress … ─▶ clip kept ─▶ posted ─▶ row 'done' ─▶ 1️⃣…5️⃣
                                └──────── cancelled, refused, engine gone ────────▶ row 'cancelled' or 'failed', message says so

Each take is one task of this process; what a killed process left behind is taken up by ``recover``. Not here: checking what was asked
(``orders``), how a message is edited (``take_message``) and what it says (``messages``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import discord

from bot import buttons, checkpoints, clips, messages
from bot.errors import ENGINE_DOWN, ENGINE_WENT_AWAY, RESTARTED, UNEXPECTED, words_for
from bot.kit import Interaction
from bot.limits import delivery_bytes
from bot.messages import Moment
from bot.orders import check_reaches, seconds_of
from bot.permissions import can_rate, check_can_post
from bot.refusal import Refusal
from bot.take_message import TakeMessage
from engine.api import Delivery, Done, GenerateRequest, Progress, Queued
from engine.client import EngineClient, EngineUnreachable
from storage import Store, Take, WrongState

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Running:
    """One take under way, as this process knows it."""

    take: Take
    order: GenerateRequest
    message: TakeMessage
    requester: str | None
    can_rate: bool
    moment: Moment = field(default_factory=Moment)
    task: asyncio.Task[None] | None = None
    cancelled: bool = False
    cancelled_by: str | None = None
    made: bool = False
    """The clip is there and is being posted: too late to cancel."""


class Takes:
    """All takes under way in this process. ``close`` ends them; their rows and messages then say so."""

    def __init__(self, client: discord.Client, store: Store, engine: EngineClient, *, per_member: int) -> None:
        self._client = client
        self._store = store
        self._engine = engine
        self._per_member = per_member
        self._running: dict[str, _Running] = {}
        self._counting = asyncio.Lock()

    # ---- asking

    async def check(self, interaction: Interaction, number: int = 1) -> None:
        """Whether ``number`` more takes may be begun here by this member. Raises Refusal. Quick: before the interaction is deferred."""
        check_can_post(interaction)
        await self._check_share(interaction, number)

    async def begin(
        self,
        interaction: Interaction,
        orders: Sequence[GenerateRequest],
        *,
        track_name: str | None = None,
        parent: Take | None = None,
    ) -> list[Take]:
        """Writes the takes down, shows them waiting, one message each, and sets them going. The interaction is deferred already.

        Raises Refusal.
        """
        assert interaction.guild_id is not None and interaction.channel_id is not None
        settings = await self._store.guilds.settings(interaction.guild_id)
        async with self._counting:
            await self._check_share(interaction, len(orders))
            takes = [
                await self._create(
                    interaction, order, checkpoint=order.checkpoint or settings.checkpoint, track_name=track_name, parent=parent
                )
                for order in orders
            ]
        limit = delivery_bytes(interaction.filesize_limit, interaction.guild.filesize_limit if interaction.guild else None)
        for number, (take, order) in enumerate(zip(takes, orders, strict=True)):
            running = _Running(
                take,
                order.model_copy(
                    update={
                        "take_id": take.id,
                        "checkpoint": take.checkpoint,
                        "delivery": Delivery(
                            format="wav" if order.loop else "mp3",  # an MP3 has a gap at its ends: it can't repeat to the sample
                            max_bytes=limit,
                            title=messages.shorten(take.prompt, 200) or None,
                        ),
                    }
                ),
                TakeMessage(self._client.get_partial_messageable(interaction.channel_id, guild_id=interaction.guild_id), None, interaction),
                interaction.user.display_name,
                can_rate(interaction.app_permissions),
            )
            self._running[take.id] = running
            try:
                await self._show_first(interaction, running, original=number == 0)
            except Exception as error:
                for left in takes[number:]:
                    self._running.pop(left.id, None)
                    await self._store.takes.fail(left.id, "Discord did not take the message.")
                if number == 0:
                    raise
                log.warning("take %s could not be shown: %s", take.id, error)  # an answer would cover the first take's message
                return takes[:number]
            running.task = asyncio.create_task(self._run(running), name=f"take-{take.id}")
        return takes

    def under_way(self, take_id: str) -> Moment | None:
        """Where a take stands; None when this process is not at it."""
        running = self._running.get(take_id)
        return running.moment if running else None

    def cancel(self, take_id: str, by: str | None) -> bool:
        """Ends a take that waits or runs; its message says by whom. False when it is too late."""
        running = self._running.get(take_id)
        if running is None or running.task is None or running.made:
            return False
        running.cancelled, running.cancelled_by = True, by
        return running.task.cancel()

    async def close(self) -> None:
        """Ends everything under way, each with a message that says how to have it made after all."""
        tasks = [running.task for running in self._running.values() if running.task is not None]
        for running in list(self._running.values()):
            if running.task is not None and not running.made:
                running.task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=10)

    # ---- after a restart

    async def recover(self, left: Sequence[Take]) -> None:
        """Ends what a killed process left behind: a clip that was made is posted, anything else is failed, and its message says so."""
        for take in left:
            channel = self._client.get_partial_messageable(take.message_channel_id or take.channel_id, guild_id=take.guild_id)
            running = _Running(take, order_of(take), TakeMessage(channel, take.message_id), None, can_rate=True)
            try:
                if take.clip is not None and take.message_deleted_at is None:
                    await self._post(running)
                else:
                    await self._fail(running, RESTARTED)
            except Exception as error:
                log.exception("could not take up take %s", take.id)
                await self._fail(running, words_for(error) or UNEXPECTED)

    # ---- one take

    async def _create(
        self, interaction: Interaction, order: GenerateRequest, *, checkpoint: str | None, track_name: str | None, parent: Take | None
    ) -> Take:
        assert interaction.guild_id is not None and interaction.channel_id is not None
        continuing = order.kind == "continuation"
        if continuing and track_name is None and parent is not None and parent.track_sha256 == order.track:
            track_name = parent.track_name
        return await self._store.takes.create(
            guild_id=interaction.guild_id,
            channel_id=interaction.channel_id,
            member_id=interaction.user.id,
            kind=order.kind,
            prompt=order.prompt,
            seconds=seconds_of(order),
            bpm=order.bpm,
            key=order.key,
            bars=order.bars,
            loop=order.loop,
            seed=order.seed,
            guidance_scale=order.sampling.guidance_scale,
            temperature=order.sampling.temperature,
            strength=order.strength,
            checkpoint=checkpoint,
            track_sha256=order.track,
            track_name=track_name,
            from_s=order.from_s,
            prompt_seconds=order.prompt_seconds if continuing else None,
            parent_take_id=parent.id if parent else None,
        )

    async def _check_share(self, interaction: Interaction, number: int) -> None:
        assert interaction.guild_id is not None
        queue = await self._store.takes.queue(interaction.guild_id)
        own = sum(take.member_id == interaction.user.id for take in queue)
        if own + number > self._per_member:
            free = self._per_member - own
            has = f"You have {own} {'take' if own == 1 else 'takes'} waiting or running, and {self._per_member} is the most at once"
            then = f"ask for {free} at most" if free > 0 else "wait for one to finish, or cancel one"
            raise Refusal(f"{has}: {then}. `/queue` shows them.")

    async def _show_first(self, interaction: Interaction, running: _Running, *, original: bool) -> None:
        embed = messages.progress_embed(running.take, running.moment)
        view = buttons.running_view(running.take)
        sent: discord.Message
        if original:
            sent = await interaction.edit_original_response(embed=embed, view=view)
        else:
            sent = await interaction.followup.send(embed=embed, view=view, wait=True)
        running.message.message_id = sent.id
        running.take = await self._store.takes.attach_message(running.take.id, sent.id, running.message.channel.id)

    async def _run(self, running: _Running) -> None:
        try:
            done = await self._generate(running)
            running.made = True
            running.take = await clips.keep(self._store, running.take.id, done)
            await self._post(running)
        except asyncio.CancelledError:
            await (self._end_cancelled(running) if running.cancelled else self._fail(running, RESTARTED))
        except EngineUnreachable as error:
            log.warning("take %s: %s", running.take.id, error.message)
            await self._fail(running, ENGINE_DOWN if running.moment.position is None else ENGINE_WENT_AWAY)
        except Exception as error:
            words = words_for(error)
            if words is None:
                log.exception("take %s failed unexpectedly", running.take.id)
            await self._fail(running, words or UNEXPECTED)
        finally:
            self._running.pop(running.take.id, None)

    async def _generate(self, running: _Running) -> Done:
        """Raises EngineError, Refusal, BlobMissing."""
        order = running.order
        if order.checkpoint is not None:
            await self._check_checkpoint(running.take, order.checkpoint)
        if order.track is not None:
            track = await self._engine.put_track(await self._store.blobs.get(order.track))
            check_reaches(order.from_s, track.duration_s)
        started = False
        async with aclosing(self._engine.generate(order)) as events:
            async for event in events:
                if isinstance(event, Done):
                    if not started:
                        await self._store.takes.start(running.take.id)
                    return event
                if isinstance(event, Queued):
                    running.moment = Moment(event.position, event.eta_s)
                elif isinstance(event, Progress):
                    if not started:
                        running.take = await self._store.takes.start(running.take.id)
                        started = True
                    running.moment = Moment(0, event.eta_s, event.frames / event.of_frames)
                running.message.show(messages.progress_embed(running.take, running.moment))
        raise EngineUnreachable("the engine ended without a clip")

    async def _check_checkpoint(self, take: Take, wanted: str) -> None:
        """Only one that the guild may use reaches the engine, which knows nothing of guilds. Raises EngineError, Refusal."""
        points = await checkpoints.of_guild(self._engine, self._store, take.guild_id)
        usual = (await self._store.guilds.settings(take.guild_id)).checkpoint
        if wanted == usual and all(point.id != wanted for point in points):
            raise Refusal("The engine doesn't have this server's checkpoint any more: choose another with `/finetune use`.")
        checkpoints.find(points, wanted)

    async def _post(self, running: _Running) -> None:
        """The clip is kept: shows it, and only then calls the take done."""
        take = running.take
        finetune = await self._store.finetunes.by_checkpoint(take.guild_id, take.checkpoint) if take.checkpoint else None
        embed = messages.clip_embed(take, requester=running.requester, can_rate=running.can_rate, finetune=finetune)
        replaced = await running.message.post(embed, buttons.clip_view(take), lambda: clips.files(self._store, take), take.id)
        assert running.message.message_id is not None
        await self._store.takes.attach_message(take.id, running.message.message_id, running.message.channel.id)
        running.take = await self._store.takes.finish(take.id)
        if replaced is not None:
            await running.message.discard(replaced)
        log.info("take %s is posted: %s, %.1f s", take.id, take.kind, take.clip.duration_s if take.clip else 0)
        if running.can_rate and not await clips.add_scale(running.message.reference):
            warned = messages.clip_embed(running.take, requester=running.requester, can_rate=False, finetune=finetune)
            await running.message.reference.edit(embed=warned)

    async def _end_cancelled(self, running: _Running) -> None:
        try:
            running.take = await self._store.takes.cancel(running.take.id)
        except WrongState:
            return
        embed = messages.cancelled_embed(running.take, running.cancelled_by)
        await running.message.end(embed, buttons.ended_view(running.take))

    async def _fail(self, running: _Running, words: str) -> None:
        try:
            running.take = await self._store.takes.fail(running.take.id, words)
        except WrongState:
            return  # it was posted: what went wrong came after that
        await running.message.end(messages.failed_embed(running.take, words), buttons.ended_view(running.take))


def order_of(take: Take) -> GenerateRequest:
    """What was asked for, from its row: to be asked again."""
    length = {"seconds": take.seconds} if take.bars is None else {"bars": take.bars}
    made_by = {"checkpoint": take.checkpoint, "strength": take.strength}
    given = {"from_s": take.from_s, "prompt_seconds": take.prompt_seconds, "bpm": take.bpm, "key": take.key, **length, **made_by}
    return GenerateRequest.model_validate(
        {
            "take_id": take.id,
            "kind": take.kind,
            "prompt": take.prompt,
            "loop": take.loop,
            "seed": take.seed,
            "sampling": {"guidance_scale": take.guidance_scale, "temperature": take.temperature},
            "track": take.track_sha256,
            **{name: value for name, value in given.items() if value is not None},
        }
    )
