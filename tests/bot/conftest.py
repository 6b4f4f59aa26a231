"""The real bot in a simulated Discord, with a real store and a real engine.

``world``     SimCord around ``Composer``: one server, a channel, Alice (DJ), Bob and the moderator Mira. Its time is virtual.
``engine_url``  an engine process of its own on a tiny random checkpoint, shared by all tests: real audio, fast.
``scripted``  an engine that says what the test tells it to, over real HTTP: for what a healthy engine doesn't do.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import discord
import numpy as np
import pytest
import soundfile as sf
from aiohttp import web
from discord import app_commands
from simcord.actors import MemberActor
from simcord.backend.serializers import role_payload
from simcord.builders import ChannelHandle, GuildHandle
from simcord.env import Env
from simcord.results import InteractionResult

from bot.client import Composer
from bot.refusal import Refusal
from bot.settings import BotSettings
from engine.api import (
    Analysis,
    AnalysisRequest,
    CheckpointInfo,
    Done,
    GenerateRequest,
    Health,
    MusicalKey,
    Payload,
    Queued,
    ReportRequest,
    SimilarRequest,
    Tempo,
    TrackInfo,
    Working,
)
from engine.client import EngineClient, EngineError
from storage import Clip, Store, Take, open_store

BOT_PERMISSIONS = discord.Permissions(
    view_channel=True,
    send_messages=True,
    send_messages_in_threads=True,
    embed_links=True,
    attach_files=True,
    read_message_history=True,
    add_reactions=True,
)
"""Exactly what the invite link in README asks for."""


@dataclass
class World:
    """One server and who is in it. ``errors`` that a test expects are refusals; anything else fails it."""

    env: Env
    bot: Composer
    store: Store
    guild: GuildHandle
    lab: ChannelHandle
    alice: MemberActor
    bob: MemberActor
    mira: MemberActor
    new_bot: Callable[[], Composer]

    def messages(self) -> list[discord.Message]:
        return self.lab.history()

    def last(self) -> discord.Message:
        return self.messages()[-1]

    def text(self, message: Any) -> str:
        """All that a reader sees of a message: content and embeds."""
        parts = [message.content or ""]
        for embed in message.embeds:
            parts += [embed.title or "", embed.description or "", embed.footer.text or ""]
            parts += [f"{field.name}\n{field.value}" for field in embed.fields]
        return "\n".join(filter(None, parts))

    def said(self, result: InteractionResult) -> str:
        assert result.response is not None
        return self.text(result.response)

    def labels(self, message: discord.Message) -> list[str | None]:
        return [button.label for row in message.components for button in getattr(row, "children", [])]

    async def queue(self) -> list[Take]:
        return await self.store.takes.queue(self.guild.id)

    async def take_of(self, message: Any) -> Take:
        take = await self.store.takes.by_message(self.guild.id, message.id)
        assert take is not None
        return take

    async def queue_is_empty(self) -> bool:
        return not await self.queue()

    async def restart(self) -> None:
        """A new bot on the same store, in the same Discord."""
        self.bot = self.new_bot()
        await self.env.restart_bot(self.bot)

    async def left_behind(self, *, with_clip: bool) -> discord.Message:
        """What a killed process leaves: a row that is under way, a message that shows progress, and perhaps a clip that was not posted."""
        take = await self.store.takes.create(**self._asked())
        message_id = self.env.backend.create_message(self.lab.id, self.env.backend.bot_user.id, "40 %").id
        await self.store.takes.attach_message(take.id, message_id, self.lab.id)
        await self.store.takes.start(take.id)
        if with_clip:
            await self._keep(take)
        return self.last()

    def deny(self, *permissions: str) -> None:
        """Takes permissions from everybody, the bot among them."""
        for role in self.env.backend.get_guild(self.guild.id).roles.values():
            for name in permissions:
                role.permissions &= ~getattr(discord.Permissions, name).flag

    def allow_bot(self, *permissions: str) -> None:
        """Gives the bot's own role more than the invite link asks for."""
        backend = self.env.backend
        for role in backend.get_guild(self.guild.id).roles.values():
            if role.managed:
                role.permissions |= discord.Permissions(**dict.fromkeys(permissions, True)).value
                backend.emit("GUILD_ROLE_UPDATE", {"guild_id": str(self.guild.id), "role": dict(role_payload(role))})

    async def posted(
        self, *, prompt: str = "techno", checkpoint_kind: Any = "base", channel: ChannelHandle | None = None
    ) -> discord.Message:
        """A finished clip, without an engine: rows, blobs, and a message of the bot that shows it."""
        take = await self.store.takes.create(**self._asked() | {"prompt": prompt})
        await self.store.takes.start(take.id)
        await self._keep(take, checkpoint_kind)
        message_id = self.env.backend.create_message((channel or self.lab).id, self.env.backend.bot_user.id, "a clip").id
        await self.store.takes.attach_message(take.id, message_id, (channel or self.lab).id)
        await self.store.takes.finish(take.id)
        return next(message for message in (channel or self.lab).history() if message.id == message_id)

    def _asked(self) -> dict[str, Any]:
        return {
            "guild_id": self.guild.id,
            "channel_id": self.lab.id,
            "member_id": self.alice.id,
            "kind": "text",
            "prompt": "techno",
            "seconds": 1.0,
            "seed": 1,
            "guidance_scale": 3.0,
            "temperature": 1.0,
        }

    async def _keep(self, take: Take, checkpoint_kind: Any = "base") -> None:
        clip = Clip(
            sha256=await self.store.blobs.put(b"flac" + take.id.encode()),
            delivery_sha256=await self.store.blobs.put(b"mp3" + take.id.encode()),
            delivery_extension="mp3",
            picture_sha256=await self.store.blobs.put(b"png" + take.id.encode()),
            duration_s=1.0,
            sample_rate=32000,
            channels=1,
        )
        await self.store.takes.keep_clip(take.id, clip, seed=1, checkpoint="tiny", checkpoint_kind=checkpoint_kind)

    async def until(self, condition: Callable[[], Any] | Callable[[], Awaitable[Any]], what: str) -> Any:
        """Waits, in real time, for what comes from another process or thread."""
        async with asyncio.timeout(20):
            while True:
                await self.env.settle()
                found = condition()
                found = await found if asyncio.iscoroutine(found) else found
                if found:
                    return found
                await asyncio.sleep(0.01)
        raise AssertionError(what)


@pytest.fixture(scope="session")
def engine_url(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``python -m engine serve`` on the tiny checkpoint, on a free port."""
    folder = tmp_path_factory.mktemp("engine")
    settings = {
        "ENGINE_CHECKPOINT": str(tiny_checkpoint),
        "ENGINE_PORT": "0",
        "ENGINE_DATA": str(folder),
        "ENGINE_THREADS": "1",
        "ENGINE_TOKEN": "",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "engine", "serve"], env={**os.environ, **settings}, stderr=subprocess.PIPE, text=True, cwd=folder
    )
    try:
        assert process.stderr is not None
        url, said = "", []
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"listening on (http://\S+?),", line):
                url = found[1]
            if "ready:" in line:
                break
        assert url, f"the engine did not start:\n{''.join(said)}"
        yield url
    finally:
        process.terminate()
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


class PatientClient(EngineClient):
    """The real client; SimCord is told that the engine's answers come from outside, so a test can go on while a take runs.

    ``listens``: so do analyses, for an engine that really listens.
    """

    env: Env
    listens = False

    async def _call(self, method: str, path: str, **how: Any) -> tuple[int, bytes]:
        call = super()._call(method, path, **how)
        if not self.listens or path not in ("/v1/analyses", "/v1/reports", "/v1/similar"):
            return await call
        return await self.env.external_wait(call, reason="the engine listens")  # type: ignore[no-any-return]

    async def generate(self, request: GenerateRequest) -> Any:
        async with aclosing(super().generate(request)) as events:
            async for event in self._patiently(events):
                yield event

    async def finetune_events(self, finetune_id: str, after: int = 0) -> Any:
        async with aclosing(super().finetune_events(finetune_id, after)) as events:
            async for event in self._patiently(events):
                yield event

    async def _patiently(self, events: Any) -> Any:
        while True:
            try:
                event = await self.env.external_wait(anext(events), reason="the engine is at work")
            except StopAsyncIteration:
                return
            yield event


@dataclass
class Scripted:
    """An engine whose answers a test writes. ``events`` are sent one by one; a callable among them is awaited first."""

    url: str = ""
    status: int = 200
    body: dict[str, Any] = field(default_factory=dict)
    events: list[Any] = field(default_factory=list)
    requests: list[GenerateRequest] = field(default_factory=list)
    tracks: dict[str, bytes] = field(default_factory=dict)
    track_seconds: float = 10.0
    heard: dict[str, Any] = field(default_factory=dict)
    """What an analysis of a track says beside ``an_analysis``, by SHA-256; an exception is what goes wrong with it."""
    answers: dict[str, Any] = field(default_factory=dict)
    """What ``/v1/reports`` and ``/v1/similar`` say; a list is said one after the other."""
    asked: list[Any] = field(default_factory=list)
    """Requests for analyses, reports and similar tracks."""
    analysis_version: int = 1
    forgotten: list[str] = field(default_factory=list)
    gate: asyncio.Event | None = None
    """What an analysis waits for."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client went away before its take was done."""
    points: list[CheckpointInfo] = field(default_factory=lambda: [a_checkpoint("pocket", default=True), a_checkpoint("alice")])

    async def post(self, request: web.Request) -> web.StreamResponse:
        wanted = GenerateRequest.model_validate_json(await request.read())
        self.requests.append(wanted)
        if self.status != 200:
            return web.json_response(self.body, status=self.status)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        try:
            for event in [Queued(position=0, eta_s=5.0), *self.events]:
                if callable(event):
                    await event()
                elif event == "die":
                    assert request.transport is not None
                    request.transport.abort()
                    return response
                else:
                    await response.write(event.model_dump_json().encode() + b"\n")
        except (ConnectionResetError, asyncio.CancelledError):
            self.left.set()
            raise
        return response

    async def put(self, request: web.Request) -> web.Response:
        data = await request.read()
        self.tracks[request.match_info["sha256"]] = data
        return self._info(request.match_info["sha256"])

    async def delete(self, request: web.Request) -> web.Response:
        self.forgotten.append(request.match_info["sha256"])
        return web.Response(status=204 if self.tracks.pop(request.match_info["sha256"], None) else 404)

    async def analyse(self, request: web.Request) -> web.Response:
        wanted = AnalysisRequest.model_validate_json(await request.read())
        self.asked.append(wanted)
        if self.gate is not None:
            await self.gate.wait()
        if missing := [wanted.track] if wanted.track not in self.tracks else []:
            return _unknown(missing)
        changes = self.heard.get(wanted.track, {})
        if isinstance(changes, EngineError):
            return web.json_response({"code": changes.code, "message": changes.message}, status=422)
        return _wire(an_analysis(wanted.track, **changes))

    async def report(self, request: web.Request) -> web.Response:
        wanted = ReportRequest.model_validate_json(await request.read())
        self.asked.append(wanted)
        return self._answer("report", [track.sha256 for track in wanted.tracks])

    async def similar(self, request: web.Request) -> web.Response:
        wanted = SimilarRequest.model_validate_json(await request.read())
        self.asked.append(wanted)
        return self._answer("similar", [wanted.track, *wanted.candidates])

    def _answer(self, name: str, tracks: list[str]) -> web.Response:
        if missing := [sha256 for sha256 in tracks if sha256 not in self.tracks]:
            return _unknown(missing)
        answer = self.answers[name]
        return _wire(answer.pop(0) if isinstance(answer, list) else answer)

    async def get(self, request: web.Request) -> web.Response:
        sha256 = request.match_info["sha256"]
        return (
            self._info(sha256)
            if sha256 in self.tracks
            else web.json_response({"code": "unknown_track", "message": "the engine has no such track"}, status=404)
        )

    def _info(self, sha256: str) -> web.Response:
        info = TrackInfo(sha256=sha256, duration_s=self.track_seconds, sample_rate=44100, channels=2, codec="mp3", peak_dbfs=-1.0)
        return web.json_response(info.model_dump())

    async def health(self, request: web.Request) -> web.Response:
        health = Health(
            ready=True,
            version="0",
            checkpoint="pocket",
            device="cpu",
            queue=0,
            running=0,
            uptime_s=1.0,
            analysis_version=self.analysis_version,
        )
        return web.json_response(health.model_dump())

    async def checkpoints(self, request: web.Request) -> web.Response:
        return web.json_response({"checkpoints": [point.model_dump() for point in self.points]})


def a_checkpoint(checkpoint_id: str, **changes: Any) -> CheckpointInfo:
    fields: dict[str, Any] = {"name": checkpoint_id, "kind": "base", "sample_rate": 32000, "channels": 1, "window_s": 30.0, "parameters": 1}
    return CheckpointInfo(**{"id": checkpoint_id, "licence": "MIT"} | fields | changes)


def _wire(answer: Any) -> web.Response:
    return web.Response(text=answer.model_dump_json(), content_type="application/json", status=202 if isinstance(answer, Working) else 200)


def _unknown(missing: list[str]) -> web.Response:
    return web.json_response({"code": "unknown_track", "message": "upload first", "tracks": missing}, status=404)


def an_analysis(sha256: str, **changes: Any) -> Analysis:
    """What a scripted engine hears in a track."""
    fields: dict[str, Any] = {
        "sha256": sha256,
        "version": 1,
        "duration_s": 372.0,
        "heard_s": 372.0,
        "tempo": Tempo(bpm=128.0, downbeat_s=0.0, steady=True, confidence=0.9, source="detected"),
        "key": MusicalKey(name="A minor", camelot="8A", confidence=0.5, source="detected"),
        "lufs": -8.1,
        "peak_dbfs": -0.1,
        "clipped_share": 0.0,
        "silence_s": 0.0,
        "sections": [],
        "picture": Payload.of(b"\x89PNG" + sha256.encode(), "image/png", "png"),
    }
    return Analysis(**fields | changes)


def a_clip(**changes: Any) -> Done:
    """What a scripted engine is done with."""
    fields: dict[str, Any] = {
        "clip": Payload.of(b"flac", "audio/flac", "flac"),
        "delivery": Payload.of(b"mp3", "audio/mpeg", "mp3"),
        "picture": Payload.of(b"png", "image/png", "png"),
        "seed": 5,
        "checkpoint": "pocket",
        "checkpoint_kind": "base",
        "prompt": "techno",
        "duration_s": 4.0,
        "sample_rate": 32000,
        "channels": 1,
        "loudness_lufs": -14.0,
        "peak_dbfs": -1.0,
        "generate_s": 1.0,
        "total_s": 1.0,
    }
    return Done(**fields | changes)


@pytest.fixture
def done() -> Callable[..., Done]:
    return a_clip


@pytest.fixture
def more_routes() -> list[web.RouteDef]:
    """What else the scripted engine answers, where a test's own folder says so."""
    return []


@pytest.fixture
async def scripted(more_routes: list[web.RouteDef]) -> AsyncIterator[Scripted]:
    engine = Scripted()
    app = web.Application(client_max_size=2**26)
    app.add_routes(
        [
            web.post("/v1/takes", engine.post),
            web.get("/v1/tracks/{sha256}", engine.get),
            web.put("/v1/tracks/{sha256}", engine.put),
            web.delete("/v1/tracks/{sha256}", engine.delete),
            web.post("/v1/analyses", engine.analyse),
            web.post("/v1/reports", engine.report),
            web.post("/v1/similar", engine.similar),
            web.get("/v1/checkpoints", engine.checkpoints),
            *more_routes,
            web.get("/healthz", engine.health),
        ]
    )
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    engine.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield engine
    await runner.cleanup()


@pytest.fixture
def settings(tmp_path: Path) -> BotSettings:
    return BotSettings.read(_env_file=None, bot_data=tmp_path / "data", bot_crate_tracks=3)


@pytest.fixture
async def store(settings: BotSettings) -> AsyncIterator[Store]:
    async with open_store(settings.bot_data) as opened:
        yield opened


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> EngineClient:
    """The client that the bot gets: of the scripted engine where a test uses that, of the real one where it uses that, else of nobody."""
    if "scripted" in request.fixturenames:
        return PatientClient(request.getfixturevalue("scripted").url, silence_s=24 * 3600)  # of this world's time, which a test may advance
    if "engine_url" in request.fixturenames:
        client = PatientClient(request.getfixturevalue("engine_url"), silence_s=24 * 3600)
        client.listens = True
        return client
    return EngineClient("http://127.0.0.1:9")  # the discard port: nobody answers


@pytest.fixture
async def env(settings: BotSettings, store: Store, engine: EngineClient) -> AsyncIterator[Env]:
    """SimCord around a started bot. At the end, whatever the bot raised must have been a refusal, or be in ``env.allowed``."""
    simulated = Env(Composer(settings=settings, store=store, engine=engine), settle_timeout=8, check_errors=False)
    simulated.allowed = [Refusal, EngineError, app_commands.MissingPermissions, discord.Forbidden, asyncio.CancelledError]  # type: ignore[attr-defined]
    if isinstance(engine, PatientClient):
        engine.env = simulated
    async with engine:
        await simulated.start()
        try:
            yield simulated
        finally:
            await simulated.shutdown()
    for error in simulated.errors:
        cause = getattr(error, "original", error)
        if not isinstance(cause, tuple(simulated.allowed)):  # type: ignore[attr-defined]
            raise cause


@pytest.fixture
def world(env: Env, settings: BotSettings, store: Store, engine: EngineClient) -> World:
    guild = env.create_guild("Alice's techno lab")
    everyone = BOT_PERMISSIONS | discord.Permissions(use_application_commands=True)
    env.backend.get_guild(guild.id).everyone_role.permissions = everyone.value
    bot_role = next((role for role in env.backend.get_guild(guild.id).roles.values() if role.managed), None)
    if bot_role is not None:
        bot_role.permissions = BOT_PERMISSIONS.value
    moderators = guild.create_role("Moderator", permissions=everyone | discord.Permissions(manage_messages=True))
    lab = guild.create_text_channel("lab")
    alice, bob = (guild.add_member(env.create_user(name)) for name in ("alice", "bob"))
    mira = guild.add_member(env.create_user("mod_mira"), roles=[moderators])
    bot = env.bot
    assert isinstance(bot, Composer)
    return World(env, bot, store, guild, lab, alice, bob, mira, lambda: Composer(settings=settings, store=store, engine=engine))


@pytest.fixture(scope="session")
def track() -> bytes:
    """Four seconds of a kick at 120 BPM over a bass, as FLAC."""
    at = np.arange(4 * 32000) / 32000
    kick = np.sin(2 * np.pi * 50 * at) * np.exp(-12 * (at % 0.5))
    bass = 0.2 * np.sin(2 * np.pi * 110 * at)
    out = io.BytesIO()
    sf.write(out, (0.5 * kick + bass).astype(np.float32), 32000, format="FLAC")
    return out.getvalue()


__all__ = ["Scripted", "World", "aiohttp"]
