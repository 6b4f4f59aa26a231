"""``Analyses``: answers requests for analyses, reports and tracks that fit, out of what is kept, or has the rest heard first.

::

    request ─▶ every track here? ─no─▶ 404 unknown_track, with all that are missing
                    └─yes─▶ what is not kept yet ─▶ workers ─▶ kept ─▶ answer
                                     └─ not done within WORK_ANSWER_S ─▶ Working; the work goes on, asked again it is found

Two requests for one track share the work. A request that nobody repeats leaves at most a few tracks under way. Not here: the
processes (``workers``), what they do (``worker``), what fits what (``matching``).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Literal

from engine.analyses.kept import Heard, Kept
from engine.analyses.workers import BACKGROUND, QUICK, URGENT, Unavailable, Workers
from engine.api import (
    MAX_CRATE_TRACKS,
    WORK_ANSWER_S,
    Analysis,
    AnalysisRequest,
    MusicalKey,
    Payload,
    Report,
    ReportRequest,
    SameRecording,
    Section,
    Similar,
    SimilarRequest,
    Tempo,
    TrackInfo,
    Working,
)
from engine.errors import EngineError
from engine.tracks import Tracks, require_name, unknown_track

log = logging.getLogger(__name__)

Kind = Literal["analyse", "embed"]

MAX_WAITING = 64
"""Tracks that may wait to be heard; more are refused with 503 and Retry-After."""
SAME_LENGTH_S = 20.0
"""Copies of one recording differ in length by less: an encoder's padding, silence cut from the ends."""
QUIET_S = 5.0
"""What nobody waits for is begun when there was no request for so long, in seconds."""
KEEP_ANSWER_S = 60.0
"""How long an answer that came too late waits to be fetched, in seconds."""


class Analyses:
    """One engine's. ``number`` processes listen. Use from one event loop."""

    def __init__(self, tracks: Tracks, number: int) -> None:
        self._tracks = tracks
        self._kept = Kept(tracks)
        self._workers = Workers(number)
        self._under_way: dict[tuple[Kind, str], asyncio.Task[None]] = {}
        self._postponed: set[str] = set()
        self._postponing: asyncio.Task[None] | None = None
        self._busy_at = time.monotonic()
        self._asked: dict[str, asyncio.Task[dict[str, Any]]] = {}
        """Answers that are worked out of what was heard, until they are fetched."""
        self._unusable: dict[tuple[Kind, str], EngineError] = {}
        """Tracks that can't be heard, whatever is tried: not tried again in this run."""

    async def stop(self) -> None:
        """What is under way is lost, and heard again when it is asked for. May be called twice."""
        if self._postponing is not None:
            self._postponing.cancel()
        await self._workers.stop()
        await asyncio.gather(*self._under_way.values(), *self._asked.values(), return_exceptions=True)

    def forget(self, sha256: str) -> None:
        """The track is gone; what is under way for it will be kept nowhere."""
        for kind in _KINDS:
            self._unusable.pop((kind, sha256), None)

    # ---- requests

    async def find(self, sha256: str) -> Analysis:
        """What is kept. Raises EngineError 'unknown_track' where the track is not here or was not heard yet."""
        info = await asyncio.to_thread(self._tracks.find, require_name(sha256))
        heard = await asyncio.to_thread(self._kept.heard, sha256)
        if heard is None:
            raise EngineError("unknown_track", "This track is here and was not analysed yet: POST /v1/analyses.")
        return _analysis(info, heard, {}, 0)

    async def analyse(self, request: AnalysisRequest) -> Analysis | Working:
        """One track's card. Raises EngineError."""
        sha256 = request.track
        info = await asyncio.to_thread(self._tracks.find, sha256)
        heard = await asyncio.to_thread(self._kept.heard, sha256)
        deadline = self._begin()
        if heard is None:
            if ("analyse", sha256) not in self._under_way and self._workers.waiting >= MAX_WAITING:
                raise EngineError("queue_full", "The engine has many tracks to listen to: ask again in a while.", 30.0)
            if left := await self._listen("analyse", [sha256], deadline):
                return Working(done=0, of=len(left), waiting=self._workers.waiting)
            if error := self._unusable.get(("analyse", sha256)):
                raise error
            heard = await asyncio.to_thread(self._kept.heard, sha256)
            if heard is None:
                raise unknown_track(sha256)  # forgotten while it was listened to
        compared = await self._same(info, heard.record, [other for other in request.among if other != sha256], deadline)
        if compared is None:
            return Working(done=0, of=1, waiting=self._workers.waiting)
        self._embed_later(sha256)
        return _analysis(info, heard, *compared)

    async def report(self, request: ReportRequest) -> Report | Working:
        """What a crate is as a dataset. Raises EngineError."""
        deadline = self._begin()
        tracks = list({track.sha256: track for track in request.tracks}.values())
        await self._require([track.sha256 for track in tracks])
        working, _ = await self._heard([track.sha256 for track in tracks], deadline, sounds=False)
        if working:
            return working
        bad = {track.sha256: error.message for track in tracks if (error := self._unusable.get(("analyse", track.sha256)))}
        told = [{**track.model_dump(), "path": str(self._kept.path_of_record(track.sha256))} for track in tracks if track.sha256 not in bad]
        if not told:
            raise EngineError("bad_audio", "None of these tracks can be listened to: export them anew, as MP3, WAV or FLAC.")
        done = await self._work_out(URGENT, deadline, "report", tracks=told, unreadable=list(bad.values()))
        if done is None:
            return Working(done=len(tracks), of=len(tracks), waiting=self._workers.waiting)
        picture = Payload.of(base64.b64decode(done["picture"]), "image/png", "png")
        return Report(text=done["text"], advice=done["advice"], picture=picture, tracks=done["tracks"], not_heard=list(bad))

    async def similar(self, request: SimilarRequest) -> Similar | Working:
        """Which candidates go with the track. Raises EngineError."""
        deadline = self._begin()
        candidates = [sha256 for sha256 in dict.fromkeys(request.candidates) if sha256 != request.track]
        await self._require([request.track, *candidates])
        working, note = await self._heard([request.track, *candidates], deadline, sounds=True)
        if working:
            return working
        if error := self._unusable.get(("analyse", request.track)):
            raise error
        not_heard = [sha256 for sha256 in candidates if ("analyse", sha256) in self._unusable]
        heard = [sha256 for sha256 in candidates if sha256 not in not_heard]
        record = await asyncio.to_thread(self._kept.record, request.track)
        if record is None:
            raise unknown_track(request.track)
        info = await asyncio.to_thread(self._tracks.find, request.track)
        compared = await self._same(info, record, heard, deadline)
        if compared is None:
            return Working(done=len(heard), of=1 + len(candidates), waiting=self._workers.waiting)
        same = compared[0]
        return await asyncio.to_thread(self._match, request, [other for other in heard if other not in same], list(same), not_heard, note)

    def _match(self, request: SimilarRequest, heard: list[str], same: list[str], not_heard: list[str], note: str | None) -> Similar:
        from engine.analyses import matching
        from engine.music.analysis.keys import Key

        def facts(sha256: str) -> matching.Facts | None:
            record = self._kept.record(sha256)
            if record is None:
                return None  # forgotten just now
            grid, key = record["grid"], record["key"]
            vector = None if note else self._kept.vector(sha256)
            return matching.Facts(sha256, grid["bpm"] if grid else None, Key.from_record(key) if key else None, vector)

        track = facts(request.track)
        if track is None:
            raise unknown_track(request.track)
        found = matching.similar(track, [known for known in map(facts, heard) if known is not None], request.limit)
        return found.model_copy(update={"same": same, "not_heard": not_heard, "note": note})

    # ---- work

    def _begin(self) -> float:
        """A request has come: the moment by which it is to be answered."""
        self._busy_at = time.monotonic()
        return self._busy_at + WORK_ANSWER_S

    async def _require(self, tracks: Sequence[str]) -> None:
        """Raises EngineError 'unknown_track' that names all that are not here."""
        missing = await asyncio.to_thread(lambda: [sha256 for sha256 in tracks if not self._tracks.has(sha256)])
        if missing:
            some = f"{len(missing)} of these tracks" if len(tracks) > 1 else "this track"
            raise EngineError("unknown_track", f"The engine doesn't have {some}: upload first.", tracks=missing)

    async def _heard(self, tracks: list[str], deadline: float, *, sounds: bool) -> tuple[Working | None, str | None]:
        """Has all of ``tracks`` analysed (and, for ``sounds``, embedded). What is left to be asked again, and what is not installed."""
        left = await self._listen("analyse", tracks, deadline)
        note: str | None = None
        if sounds and not left:
            usable = [sha256 for sha256 in tracks if ("analyse", sha256) not in self._unusable]
            try:
                left = await self._listen("embed", usable, deadline)
            except Unavailable as error:
                note = f"How they sound was not compared, only tempo and key. {error}"
        if not left:
            return None, note
        return Working(done=len(tracks) - len(left), of=len(tracks), waiting=self._workers.waiting), note

    async def _listen(self, kind: Kind, tracks: Sequence[str], deadline: float) -> list[str]:
        """Has tracks heard until the deadline; those that are not by then.

        What can't be heard is in ``_unusable`` afterwards. Raises Unavailable, EngineError 'internal', 'not_ready'.
        """
        pending = await asyncio.to_thread(lambda: [sha256 for sha256 in tracks if not self._is_kept(kind, sha256)])
        running: dict[asyncio.Task[None], str] = {}
        while pending or running:
            while pending and len(running) <= self._workers.number:
                sha256 = pending.pop(0)
                running[self._ensure(kind, sha256, URGENT)] = sha256
            finished, _ = await asyncio.wait(running, timeout=max(0.0, deadline - time.monotonic()), return_when=asyncio.FIRST_COMPLETED)
            if not finished:
                return [*running.values(), *pending]
            for task in finished:
                del running[task]
                task.result()
        return []

    def _is_kept(self, kind: Kind, sha256: str) -> bool:
        if (kind, sha256) in self._unusable:
            return True
        return self._kept.is_heard(sha256) if kind == "analyse" else self._kept.vector(sha256) is not None

    def _ensure(self, kind: Kind, sha256: str, priority: int) -> asyncio.Task[None]:
        """The task that hears this track, begun now or before."""
        task = self._under_way.get((kind, sha256))
        if task is None:
            work: Coroutine[Any, Any, None] = self._analyse(sha256, priority) if kind == "analyse" else self._embed(sha256, priority)
            task = self._under_way[kind, sha256] = asyncio.create_task(work)
            task.add_done_callback(lambda done: self._over(kind, sha256, done))
        return task

    def _over(self, kind: Kind, sha256: str, task: asyncio.Task[None]) -> None:
        del self._under_way[kind, sha256]
        if not task.cancelled():
            task.exception()  # whoever waited has it; nobody may have

    def _embed_later(self, sha256: str) -> None:
        """Once nobody has asked for anything for a while: the first comparison with a large crate then finds most of it done."""
        if len(self._postponed) < MAX_CRATE_TRACKS:
            self._postponed.add(sha256)
        if self._postponing is None or self._postponing.done():
            self._postponing = asyncio.create_task(self._embed_postponed())

    async def _embed_postponed(self) -> None:
        while self._postponed:
            if self._under_way or time.monotonic() - self._busy_at < QUIET_S:
                await asyncio.sleep(QUIET_S)
                continue
            sha256 = self._postponed.pop()
            try:
                if not await asyncio.to_thread(self._is_kept, "embed", sha256):
                    await asyncio.shield(self._ensure("embed", sha256, BACKGROUND))
            except Unavailable:
                self._postponed.clear()  # it will be said to whoever asks for a comparison
            except EngineError as error:
                log.info("track %s: %s", sha256[:12], error.message)

    async def _analyse(self, sha256: str, priority: int) -> None:
        info = await asyncio.to_thread(self._tracks.find, sha256)
        began = time.monotonic()
        done = await self._run("analyse", sha256, priority)
        if done is not None:
            heard = Heard(done["record"], base64.b64decode(done["picture"]))
            await asyncio.to_thread(self._kept.keep_heard, sha256, heard)
            log.info("track %s: analysed, %.0f s of it in %.1f s", sha256[:12], info.duration_s, time.monotonic() - began)

    async def _embed(self, sha256: str, priority: int) -> None:
        done = await self._run("embed", sha256, priority)
        found: dict[str, Any] = done or {"name": "none", "vector": []}  # too short to say how it sounds
        await asyncio.to_thread(self._kept.keep_vector, sha256, found["name"], found["vector"])

    async def _run(self, kind: Kind, sha256: str, priority: int) -> dict[str, Any] | None:
        """None where the audio is no good for that."""
        try:
            path = str(self._tracks.audio_path(sha256))
            return await self._workers.run(kind, priority=priority, path=path, sha256=sha256)
        except EngineError as error:
            if error.code != "bad_audio":
                raise
            self._unusable[kind, sha256] = error
            return None

    async def _same(
        self, info: TrackInfo, record: dict[str, Any], among: Sequence[str], deadline: float
    ) -> tuple[dict[str, float], int] | None:
        """Which of ``among`` are the same recording, with how like they are; and how many could not be compared. None: not done yet."""

        def worth() -> tuple[dict[str, str], int]:
            paths: dict[str, str] = {}
            unheard = 0
            for sha256 in among:
                try:
                    other = self._tracks.find(sha256) if self._kept.path_of_record(sha256).exists() else None
                except EngineError:
                    other = None
                if other is None:
                    unheard += 1
                elif abs(other.duration_s - info.duration_s) <= SAME_LENGTH_S:
                    paths[sha256] = str(self._kept.path_of_record(sha256))
            return paths, unheard

        paths, unheard = await asyncio.to_thread(worth)
        if not paths:
            return {}, unheard
        found = await self._work_out(QUICK, deadline, "compare", record=record, others=paths)
        return None if found is None else (dict(sorted(found["same"].items(), key=lambda item: -item[1])), unheard)

    async def _work_out(self, priority: int, deadline: float, do: str, **arguments: Any) -> dict[str, Any] | None:
        """What a job makes of what was heard. None: not done by the deadline; asked again, the same job goes on."""
        name = hashlib.sha256(json.dumps([do, arguments], sort_keys=True).encode()).hexdigest()
        task = self._asked.get(name)
        if task is None:
            task = self._asked[name] = asyncio.create_task(self._workers.run(do, priority=priority, **arguments))
            task.add_done_callback(lambda done: self._worked_out(name, done))
        await asyncio.wait([task], timeout=max(0.0, deadline - time.monotonic()))
        if not task.done():
            return None
        self._asked.pop(name, None)
        return task.result()

    def _worked_out(self, name: str, task: asyncio.Task[dict[str, Any]]) -> None:
        if not task.cancelled():
            task.exception()  # whoever asks next has it; nobody may
        asyncio.get_running_loop().call_later(KEEP_ANSWER_S, lambda: self._asked.pop(name, None))


_KINDS: tuple[Kind, ...] = ("analyse", "embed")


def _analysis(info: TrackInfo, heard: Heard, same: dict[str, float], not_compared: int) -> Analysis:
    """On the wire."""
    record = heard.record
    grid, key = record["grid"], record["key"]
    return Analysis(
        sha256=info.sha256,
        version=record["version"],
        duration_s=info.duration_s,
        heard_s=min(info.duration_s, record["duration_s"]),
        tempo=Tempo(**grid) if grid else None,
        key=MusicalKey(name=key["name"], camelot=key["camelot"], confidence=key["confidence"], source=key["source"]) if key else None,
        lufs=record["lufs"],
        peak_dbfs=record["peak_dbfs"],
        clipped_share=record["clipped_share"],
        silence_s=sum(end - start for start, end in record["silences"]),
        sections=[Section(**section) for section in record["sections"]],
        picture=Payload.of(heard.card, "image/png", "png"),
        same_as=[SameRecording(sha256=sha256, likeness=min(1.0, likeness)) for sha256, likeness in same.items()],
        not_compared=not_compared,
    )
