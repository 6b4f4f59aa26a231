"""Finetunes of an engine that says what a test tells it to, over real HTTP, beside the scripted engine's other answers."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from engine.api import CheckpointInfo, Payload
from engine.api.evaluation import Estimate
from engine.api.finetunes import (
    LAST_EVENTS,
    ClipFigures,
    FinetuneDone,
    FinetuneRequest,
    FinetuneStatus,
    Forecast,
    GateCheck,
    RealFigures,
    ReportCard,
    ReportClip,
    ReportFile,
    TrainingProgress,
)


@dataclass
class Jobs:
    """``say`` makes the newest job tell something; ``away`` cuts every connection."""

    events: dict[str, list[Any]] = field(default_factory=dict)
    requests: list[FinetuneRequest] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    refuses: dict[str, Any] | None = None
    """Body of what a request is refused with."""
    away: bool = False
    asked_from: list[int] = field(default_factory=list)
    """Each ``after`` that events were asked from."""
    told: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def id(self) -> str:
        return self.requests[-1].id

    async def say(self, kind: type[Any], **fields: Any) -> None:
        events = self.events[self.id]
        async with self.told:
            events.append(kind(number=len(events) + 1, **fields))
            self.told.notify_all()

    async def leave(self, *, forget: bool = False) -> None:
        """The engine stops; ``forget``: it will know of no job when it is back."""
        async with self.told:
            self.away = True
            if forget:
                self.events.clear()
            self.told.notify_all()

    def file(self, name: str, data: bytes, extension: str) -> ReportFile:
        self.files[name] = data
        sha256 = hashlib.sha256(data).hexdigest()
        return ReportFile(name=name, sha256=sha256, media_type="image/png", extension=extension, size_bytes=len(data))

    # ---- HTTP

    async def begin(self, request: web.Request) -> web.Response:
        self._check_here(request)
        wanted = FinetuneRequest.model_validate_json(await request.read())
        if self.refuses is not None:
            return web.json_response(self.refuses, status=422)
        if wanted.id not in self.events:
            self.requests.append(wanted)
            self.events[wanted.id] = []
        return self._status(wanted.id)

    async def status(self, request: web.Request) -> web.Response:
        self._check_here(request)
        return self._status(request.match_info["id"])

    async def stream(self, request: web.Request) -> web.StreamResponse:
        self._check_here(request)
        job, number = request.match_info["id"], int(request.query["after"])
        if job not in self.events:
            return _unknown()
        self.asked_from.append(number)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        while True:
            async with self.told:
                while not self.away and len(self.events[job]) <= number:
                    await self.told.wait()
            self._check_here(request)
            event = self.events[job][number]
            number += 1
            await response.write(event.model_dump_json().encode() + b"\n")
            if isinstance(event, LAST_EVENTS):
                return response

    async def read(self, request: web.Request) -> web.Response:
        self._check_here(request)
        return web.Response(body=self.files[request.match_info["name"]])

    async def delete(self, request: web.Request) -> web.Response:
        self._check_here(request)
        self.deleted.append(request.match_info["id"])
        return web.Response(status=204 if self.events.pop(request.match_info["id"], None) is not None else 404)

    def _check_here(self, request: web.Request) -> None:
        if self.away:
            assert request.transport is not None
            request.transport.abort()
            raise ConnectionResetError

    def _status(self, job: str) -> web.Response:
        if job not in self.events:
            return _unknown()
        wanted = next(wanted for wanted in self.requests if wanted.id == job)
        events = self.events[job]
        state = "done" if events and isinstance(events[-1], FinetuneDone) else "queued"
        fields: dict[str, Any] = {"state": state, "created_at": 0.0, "events": len(events), "base": wanted.base or "pocket"}
        same = {name: getattr(wanted, name) for name in ("id", "name", "recipe", "token", "owner")}
        return web.Response(text=FinetuneStatus(**same, **fields).model_dump_json(), content_type="application/json")


def _unknown() -> web.Response:
    return web.json_response({"code": "unknown_finetune", "message": "there is no such finetune"}, status=404)


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


@pytest.fixture
def more_routes(jobs: Jobs) -> list[web.RouteDef]:
    return [
        web.post("/v1/finetunes", jobs.begin),
        web.get("/v1/finetunes/{id}", jobs.status),
        web.get("/v1/finetunes/{id}/events", jobs.stream),
        web.get("/v1/finetunes/{id}/files/{name}", jobs.read),
        web.delete("/v1/finetunes/{id}", jobs.delete),
    ]


@pytest.fixture
async def crate(world: Any, scripted: Any) -> list[Any]:
    """Sixteen tracks of Alice's, which the engine has, and two of Bob's."""
    tracks = []
    for number in range(18):
        data = f"track {number}".encode()
        scripted.tracks[hashlib.sha256(data).hexdigest()] = data
        facts: dict[str, Any] = {"filename": f"{number}.mp3", "title": f"Nacht {number}", "artist": "Alice" if number < 16 else "Bob"}
        sound: dict[str, Any] = {"duration_s": 300.0, "sample_rate": 44100, "channels": 2, "codec": "mp3", "size_bytes": len(data)}
        sha256 = await world.store.blobs.put(data)
        tracks.append(await world.store.tracks.add(world.guild.id, world.alice.id, sha256=sha256, **facts, **sound))
    return tracks


@pytest.fixture
def forecast() -> dict[str, Any]:
    """A forecast's fields."""
    return {
        "seconds": 1500.0, "memory_bytes": 3 * 2**29, "disk_bytes": 2**28, "niceness": 10, "threads": 2, "tracks": 13, "held_out_tracks": 5,
        "segments": 640, "held_out_segments": 70, "steps": 160, "trained_parameters": 2_500_000,
        "advice": ["13 tracks are few: 30 or more in one manner give the model something to learn."],
    }  # fmt: skip


@pytest.fixture
def training() -> Callable[..., dict[str, Any]]:
    """A progress event's fields."""

    def make(step: int, **changes: Any) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "step": step, "of_steps": 160, "loss": 4.2, "held_out": 4.3, "held_out_base": 4.345, "best": 4.21, "best_step": 40,
            "eta_s": 800.0,
        }  # fmt: skip
        return fields | changes

    return make


@pytest.fixture
def plot() -> Callable[[bytes], Payload]:
    def make(data: bytes) -> Payload:
        return Payload.of(b"\x89PNG" + data, "image/png", "png")

    return make


@pytest.fixture
def report(jobs: Jobs) -> Callable[..., ReportCard]:
    """``report("failed")``: a report card with a picture and four pairs of clips."""

    def make(gate: Any = "passed", **changes: Any) -> ReportCard:
        interval = {"low": 0.25, "high": 0.38, "confidence": 0.95}
        figures: dict[str, Any] = {"kl": 0.1, "near_copies": 0.0, "silent": 0.0, "clipped": 0.0, "collapsed": 0.04}
        clips = [
            ReportClip(
                prompt="Alice_hash techno",
                seed=seed,
                duration_s=10.0,
                before=jobs.file(f"before-{seed}.mp3", b"before %d" % seed, "mp3"),
                after=jobs.file(f"after-{seed}.mp3", b"after %d" % seed, "mp3"),
            )
            for seed in (11, 12, 13, 14)
        ]
        words = {
            "passed": "It passed: better on unseen tracks, and no worse anywhere.",
            "failed": "The base stays: held-out loss 4.400 against the base's 4.345 nats, which is no better.",
            None: "It could not be judged: nothing was held out.",
        }[gate]
        fields: dict[str, Any] = {
            "gate": gate, "words": words,
            "checks": [GateCheck(name="held-out loss", passed=gate == "passed", words="held-out loss 4.210 nats")],
            "advice": [] if gate == "passed" else ["Add tracks: 13 are few."], "base": "pocket", "recipe": "lora", "token": "Alice_hash",
            "held_out_base": 4.345, "held_out": 4.21, "before": ClipFigures(fad=12.3, kad=Estimate(value=0.42, **interval), **figures),
            "after": ClipFigures(fad=9.8, kad=Estimate(value=0.31, **interval), **figures),
            "real": RealFigures(kad=None, near_copies=0.04, silent=0.0, clipped=0.0, collapsed=0.0), "clips_compared": 24, "clips": clips,
            "tracks": 13, "held_out_tracks": 5, "segments": 640, "held_out_segments": 70, "steps": 120, "best_step": 80,
            "stopped_early": True, "train_s": 900.0, "picture": jobs.file("card.png", b"\x89PNG the card", "png"),
        }  # fmt: skip
        return ReportCard(**fields | changes)

    return make


@pytest.fixture
def finetuned() -> Callable[..., CheckpointInfo]:
    """What the engine lists once a finetune is done."""

    def make(checkpoint_id: str, owner: str, **changes: Any) -> CheckpointInfo:
        fields: dict[str, Any] = {
            "name": "Warehouse", "kind": "finetuned", "parent": "pocket", "token": "Alice_hash", "sample_rate": 32000, "channels": 1,
            "window_s": 30.0, "parameters": 1, "licence": "MIT", "adapter": True, "gate": "passed",
        }  # fmt: skip
        return CheckpointInfo(**fields | {"id": checkpoint_id, "owner": owner} | changes)

    return make


__all__ = ["Forecast", "TrainingProgress"]
