"""Finetunes under way: from a checked request to exactly one end, whatever restarts meanwhile.

::

    begin ─▶ row 'queued' ─▶ message ─▶ tracks and request to the engine ─▶ events: preparing, forecast, progress … ─▶ report card ─▶ 'done'
                                            ▲                                    │
                                            └── engine away, bot restarted: asked again; the same id is the same job

The engine works on by itself; this follows it, one task for each finetune. A bot that stops leaves the row as it is, and ``recover`` takes
it up again. Not here: what the message says (``finetune_pages``), how it is edited (``finetune_message``), who may ask
(``permissions``).
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta

import discord

from bot import finetune_pages
from bot.errors import ENGINE_DOWN, UNEXPECTED, words_for
from bot.finetune_buttons import running_view
from bot.finetune_message import TROUBLE, FinetuneMessage, plot_files
from bot.finetune_pages import CARD_NAME, Stage, clip_file_name
from bot.kit import Interaction
from bot.limits import FILE_BYTES, MESSAGE_FILES, REQUEST_BYTES
from bot.refusal import sentence
from engine.api import Heartbeat
from engine.api.finetunes import (
    FinetuneCancelled,
    FinetuneDone,
    FinetuneEvent,
    FinetuneFailed,
    FinetuneRequest,
    Forecast,
    ReportClip,
    TrainingProgress,
)
from engine.client import EngineClient, EngineError, EngineUnreachable
from storage import Finetune, Store, WrongState
from storage.times import now

log = logging.getLogger(__name__)

RETRY_S = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
"""Waits between two attempts to reach an engine that is away; the last one goes on for ever."""
PASSING = ("not_ready", "queue_full", "internal")
"""Codes of an engine that can't just now. Of a job that it has taken before, it is asked again."""
NOTICE_AFTER = timedelta(minutes=10)
"""Whoever waited longer is told by a message of its own: an edit high up in the channel notifies nobody."""
_TRIES = 3


@dataclass(slots=True)
class _Running:
    """One finetune under way, as this process knows it."""

    finetune: Finetune
    message: FinetuneMessage
    fresh: bool
    """Asked for just now: if the engine can't be reached at all, that is an answer. One that was taken up waits for it."""
    stage: Stage = field(default_factory=Stage)
    heard: int = 0
    """Number of the last event."""
    known: int = 0
    """Events that there were when the engine was asked: what they say is past, and shown only when all of them are heard."""
    task: asyncio.Task[None] | None = None
    cancelled: bool = False
    ending: bool = False
    """Its end is being written down and shown: too late to cancel."""


class Finetunes:
    """All finetunes under way in this process. ``close`` stops following them; the engine goes on."""

    def __init__(self, client: discord.Client, store: Store, engine: EngineClient) -> None:
        self._client = client
        self._store = store
        self._engine = engine
        self._running: dict[str, _Running] = {}

    async def begin(self, interaction: Interaction, request: FinetuneRequest) -> Finetune:
        """Writes it down, shows it waiting, and sets it going. The interaction is deferred already. Raises FinetuneUnderWay, NameTaken."""
        assert interaction.guild_id is not None and interaction.channel_id is not None
        finetune = await self._store.finetunes.create(
            finetune_id=request.id,
            guild_id=interaction.guild_id,
            channel_id=interaction.channel_id,
            member_id=interaction.user.id,
            name=request.name,
            recipe=request.recipe,
            base=request.base,
            token=request.token,
            tracks=[track.sha256 for track in request.tracks],
            request=request.model_dump_json(),
        )
        running = self._follow_up(finetune, interaction)
        try:
            embed = finetune_pages.progress_embed(finetune, running.stage)
            sent = await interaction.edit_original_response(embed=embed, view=running_view(finetune))
            running.message.message_id = sent.id
            running.finetune = await self._store.finetunes.attach_message(finetune.id, sent.id)
        except Exception:
            await self._store.finetunes.fail(finetune.id, "Discord did not take the message.")
            raise
        self._start(running)
        return running.finetune

    def too_late(self, finetune_id: str) -> bool:
        """Whether it can't be cancelled any more: its end is being shown."""
        running = self._running.get(finetune_id)
        return running is not None and running.ending

    def cancel(self, finetune: Finetune) -> None:
        """Ends one whose row says that it is to end. One that this process is not at yet is ended when it is taken up."""
        running = self._running.get(finetune.id)
        if running is None or running.task is None or running.ending:
            return
        running.finetune = finetune
        if not running.cancelled:
            running.cancelled = True
            running.task.cancel()

    async def recover(self, left: Sequence[Finetune]) -> None:
        """Takes up again what was under way when the bot stopped."""
        for finetune in left:
            if finetune.id not in self._running:
                self._start(self._follow_up(finetune, None))

    async def close(self) -> None:
        """Stops following. The rows stay under way, and so do the jobs in the engine."""
        tasks = [running.task for running in self._running.values() if running.task is not None]
        for running in list(self._running.values()):
            running.cancelled = False
            if running.task is not None and not running.ending:
                running.task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=10)

    # ---- one finetune

    def _follow_up(self, finetune: Finetune, interaction: Interaction | None) -> _Running:
        async def moved(message_id: int) -> None:
            await self._store.finetunes.attach_message(finetune.id, message_id)

        channel = self._client.get_partial_messageable(finetune.channel_id, guild_id=finetune.guild_id)
        return _Running(finetune, FinetuneMessage(channel, finetune.message_id, moved, interaction), fresh=interaction is not None)

    def _start(self, running: _Running) -> None:
        self._running[running.finetune.id] = running
        running.task = asyncio.create_task(self._run(running), name=f"finetune-{running.finetune.id}")

    async def _run(self, running: _Running) -> None:
        try:
            if running.finetune.cancel_by is None:
                try:
                    await self._follow(running)
                    return
                except asyncio.CancelledError:
                    if not running.cancelled:
                        raise
            await self._end_cancelled(running)
        except asyncio.CancelledError:
            await running.message.pause()  # the bot stops: the next start goes on
        except EngineError as error:
            log.warning("finetune %s: %s", running.finetune.id, error.message)
            await self._fail(running, ENGINE_DOWN if isinstance(error, EngineUnreachable) else words_for(error) or UNEXPECTED)
        except Exception as error:
            words = words_for(error)
            if words is None:
                log.exception("finetune %s failed unexpectedly", running.finetune.id)
            await self._fail(running, words or UNEXPECTED)
        finally:
            self._running.pop(running.finetune.id, None)

    async def _follow(self, running: _Running) -> None:
        """To its end. Raises EngineError for what the engine refuses, EngineUnreachable only where it was never reached, BlobMissing."""
        attempt = 0
        while True:
            try:
                await self._ask(running)
                async with aclosing(self._engine.finetune_events(running.finetune.id, running.heard)) as events:
                    async for event in events:
                        attempt = 0
                        self._reached(running)
                        if not isinstance(event, Heartbeat) and await self._hear(running, event):
                            return
            except EngineUnreachable as error:
                if running.fresh:
                    raise
                log.info("finetune %s: %s", running.finetune.id, error.message)
                running.stage.away = True
                self._show(running)
            except EngineError as error:
                taken = running.finetune.state == "running"
                if not taken or error.code not in (*PASSING, "unknown_finetune"):
                    raise
                log.info("finetune %s: %s", running.finetune.id, error.message)
            await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
            attempt += 1

    async def _ask(self, running: _Running) -> None:
        """Gives the engine the job, or finds it there. What it had forgotten begins anew."""
        request = running.finetune.request
        assert request is not None
        status = await self._engine.start_finetune(FinetuneRequest.model_validate_json(request), self._store.blobs.get)
        running.known = status.events
        if status.events < running.heard:
            running.heard = 0
            running.stage = Stage()
        if running.finetune.state == "queued":
            running.finetune = await self._store.finetunes.start(running.finetune.id)
        self._reached(running)

    def _reached(self, running: _Running) -> None:
        running.fresh = False
        if running.stage.away:
            running.stage.away = False
            if running.heard >= running.known:
                self._show(running)

    async def _hear(self, running: _Running, event: FinetuneEvent) -> bool:
        """One event; True after the last."""
        if isinstance(event, FinetuneDone):
            running.ending = True
            await self._end_done(running, event)
            return True
        if isinstance(event, FinetuneCancelled):  # by somebody at the engine
            await self._finish_cancelled(running)
            return True
        if isinstance(event, FinetuneFailed):
            words = words_for(EngineError(event.code, event.message)) or sentence(event.message)
            await self._fail(running, words)
            await self._forget(running)
            return True
        if isinstance(event, Forecast):
            running.stage.forecast, running.stage.at = event, None
            running.finetune = await self._store.finetunes.keep_forecast(running.finetune.id, event.model_dump_json())
        else:
            running.stage.at = event
        if isinstance(event, TrainingProgress):
            running.stage.training = event
            if event.picture is not None:
                running.stage.plot = event.picture.bytes()
        running.heard = event.number
        if running.heard >= running.known:
            self._show(running)
        return False

    def _show(self, running: _Running) -> None:
        embed = finetune_pages.progress_embed(running.finetune, running.stage)
        running.message.show(embed, running_view(running.finetune), running.stage.plot)

    # ---- ends

    async def _end_done(self, running: _Running, event: FinetuneDone) -> None:
        """Shows the report card, and only then calls it done. Raises EngineUnreachable: the event is read again then."""
        finetune, report = running.finetune, event.report
        picture: bytes | None = None
        clips: list[tuple[ReportClip, bytes, bytes]] = []
        try:
            picture = None if report.picture is None else await self._engine.finetune_file(finetune.id, report.picture)
            clips = [
                (
                    clip,
                    await self._engine.finetune_file(finetune.id, clip.before),
                    await self._engine.finetune_file(finetune.id, clip.after),
                )
                for clip in report.clips
            ]
        except EngineUnreachable:
            raise
        except EngineError as error:
            log.warning("finetune %s: its report card has no pictures or clips (%s)", finetune.id, error.message)
        plot = running.stage.plot
        clips = clips[: _fitting(clips, [data for data in (picture, plot) if data is not None])]

        def files() -> list[discord.File]:
            found = [] if picture is None else [discord.File(io.BytesIO(picture), CARD_NAME, description=described)]
            found += plot_files(plot)
            for number, (clip, before, after) in enumerate(clips, 1):
                for side, data, extension in (("before", before, clip.before.extension), ("after", after, clip.after.extension)):
                    found.append(discord.File(io.BytesIO(data), clip_file_name(finetune, number, clip, side, extension)))
            return found

        described = finetune_pages.report_description(finetune, report)
        embeds = finetune_pages.report_embeds(
            finetune, report, has_picture=picture is not None, has_plot=plot is not None, clips=[clip for clip, _, _ in clips]
        )
        for attempt in range(_TRIES):
            try:
                await running.message.end(embeds, None, files)
                break
            except TROUBLE as error:
                log.warning("could not show the report card of finetune %s: %s", finetune.id, error)
                await asyncio.sleep(RETRY_S[attempt])
        running.finetune = await self._store.finetunes.finish(
            finetune.id, checkpoint=event.checkpoint, gate=report.gate, verdict=report.words, report=report.model_dump_json()
        )
        log.info("finetune %s is done: gate %s", finetune.id, report.gate)
        await self._notify(running)
        await self._forget(running)

    async def _end_cancelled(self, running: _Running) -> None:
        """Tells the engine, as soon as it answers, and ends it here. One that the engine has finished meanwhile is done all the same."""
        self._show(running)
        attempt = 0
        while True:
            try:
                status = await self._engine.finetune(running.finetune.id)
                if status.state == "done":
                    await self._follow(running)
                    return
                await self._engine.cancel_finetune(running.finetune.id)
                break
            except EngineError as error:
                if error.code == "unknown_finetune":
                    break
                log.info("finetune %s: %s", running.finetune.id, error.message)
            await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
            attempt += 1
        await self._finish_cancelled(running)

    async def _finish_cancelled(self, running: _Running) -> None:
        running.ending = True
        finetune = await self._store.finetunes.cancel(running.finetune.id)
        await self._last_word(running, finetune_pages.cancelled_embed(finetune, finetune.cancel_by))

    async def _fail(self, running: _Running, words: str) -> None:
        running.ending = True
        try:
            running.finetune = await self._store.finetunes.fail(running.finetune.id, words)
        except WrongState:
            return  # it was done: what went wrong came after that
        await self._last_word(running, finetune_pages.failed_embed(running.finetune, words))
        await self._notify(running)

    async def _last_word(self, running: _Running, embed: discord.Embed) -> None:
        plot = running.stage.plot
        if plot is not None:
            embed.set_image(url=f"attachment://{finetune_pages.PLOT_NAME}")
        try:
            await running.message.end([embed], None, lambda: plot_files(plot))
        except TROUBLE as error:
            log.warning("could not show how a finetune ended: %s", error)

    async def _notify(self, running: _Running) -> None:
        if now() - running.finetune.created_at < NOTICE_AFTER:
            return
        try:
            await running.message.tell(finetune_pages.notice(running.finetune), running.finetune.member_id)
        except TROUBLE as error:
            log.info("could not tell a member that a finetune is over: %s", error)

    async def _forget(self, running: _Running) -> None:
        """The engine needs its working files no more. It keeps the checkpoint."""
        try:
            await self._engine.cancel_finetune(running.finetune.id)
        except EngineError as error:
            log.info("finetune %s is not forgotten by the engine yet: %s", running.finetune.id, error.message)


def _fitting(clips: Sequence[tuple[ReportClip, bytes, bytes]], pictures: Sequence[bytes]) -> int:
    """How many pairs fit one message beside the pictures."""
    left, files = REQUEST_BYTES - 2**16 - sum(map(len, pictures)), len(pictures)
    for number, (_, before, after) in enumerate(clips):
        left -= len(before) + len(after)
        files += 2
        if left < 0 or files > MESSAGE_FILES or max(len(before), len(after)) > FILE_BYTES:
            return number
    return len(clips)
