"""Has the engine listen to the crates' tracks, writes down what it heard, and has it forget what no crate holds any more.

What a restart or an engine that was off has left undone is made up for by ``catch_up``: tracks that nobody has listened to, or only an
older engine has, and hashes that are to be forgotten. Whatever is compared with a guild's track is of the same guild: the engine is told
no other hashes.
Not here: what is said of it (``crate_pages``), commands (``commands/crate``, ``commands/similar``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from bot.uploads import wire_track
from engine.api import MAX_CRATE_TRACKS, Analysis, AnalysisRequest, Report, ReportRequest, Similar, SimilarRequest, Working
from engine.client import EngineClient, EngineError, EngineUnreachable
from storage import BlobMissing, Heard, Store, Track

log = logging.getLogger(__name__)

Told = Callable[[Working], None]
BytesOf = Callable[[str], Awaitable[bytes]]


class Listening:
    """One bot's. ``close`` ends what goes on behind the scenes; the next start takes it up."""

    def __init__(self, store: Store, engine: EngineClient) -> None:
        self._store = store
        self._engine = engine
        self._catching_up: asyncio.Task[None] | None = None
        self._again = False

    async def hear(self, track: Track, told: Told | None = None) -> Analysis:
        """A track's analysis, compared with the rest of its guild's crate, and written down. Raises EngineError, BlobMissing."""
        among = [sha256 for sha256 in await self._hashes(track.guild_id) if sha256 != track.sha256]
        analysis = await self._engine.analyse(AnalysisRequest(track=track.sha256, among=among), self._store.blobs.get, told)
        await self._store.tracks.keep_heard(track.guild_id, track.id, heard_of(analysis))
        return analysis

    async def report(self, guild_id: int, told: Told | None = None) -> Report:
        """The crate as a dataset. There is at least one track. Raises EngineError, BlobMissing."""
        tracks = await self._store.tracks.list(guild_id, limit=MAX_CRATE_TRACKS)
        return await self._engine.report(ReportRequest(tracks=[wire_track(track) for track in tracks]), self._store.blobs.get, told)

    async def similar(self, guild_id: int, sha256: str, bytes_of: BytesOf | None = None, told: Told | None = None) -> Similar:
        """Which of the guild's tracks go with the bytes of that hash; ``bytes_of`` has them where the store doesn't.

        Raises EngineError, BlobMissing.
        """
        candidates = [other for other in await self._hashes(guild_id) if other != sha256]
        return await self._engine.similar(SimilarRequest(track=sha256, candidates=candidates), bytes_of or self._store.blobs.get, told)

    async def _hashes(self, guild_id: int) -> list[str]:
        return (await self._store.tracks.hashes(guild_id))[-MAX_CRATE_TRACKS:]

    # ---- behind the scenes

    def catch_up(self) -> None:
        """Begins to make up for what was left undone, if there is anything; returns at once."""
        self._again = True
        if self._catching_up is None or self._catching_up.done():
            self._catching_up = asyncio.create_task(self._catch_up(), name="listening")

    async def close(self) -> None:
        if self._catching_up is not None:
            self._catching_up.cancel()
            await asyncio.gather(self._catching_up, return_exceptions=True)

    async def _catch_up(self) -> None:
        try:
            while self._again:
                self._again = False
                await self._forget()
                await self._hear_the_unheard((await self._engine.health()).analysis_version)
        except EngineUnreachable:
            log.info("the engine is away: tracks are listened to when it is back")
        except Exception:
            log.exception("could not make up for what was left undone")

    async def _forget(self) -> None:
        for sha256 in await self._store.tracks.to_forget():
            await self._engine.forget_track(sha256)
            await self._store.tracks.forgotten(sha256)

    async def _hear_the_unheard(self, version: int) -> None:
        after = 0
        while unheard := await self._store.tracks.unheard(after=after, version=version):
            after = unheard[0].id
            try:
                await self.hear(unheard[0])
            except EngineUnreachable:
                raise
            except (EngineError, BlobMissing) as error:
                log.info("track %d can't be listened to: %s", after, error)


def heard_of(analysis: Analysis) -> Heard:
    """What lists show of an analysis."""
    tempo, key = analysis.tempo, analysis.key
    return Heard(
        version=analysis.version,
        bpm=tempo.bpm if tempo else None,
        bpm_source=tempo.source if tempo else None,
        steady=tempo.steady if tempo else None,
        key_name=key.name if key else None,
        camelot=key.camelot if key else None,
        key_source=key.source if key else None,
        lufs=analysis.lufs,
    )
