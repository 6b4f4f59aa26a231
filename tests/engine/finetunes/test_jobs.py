"""A finetune over HTTP: killed and resumed beside takes, read again from any number; cancelled, refused, of deleted tracks."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from engine.api import Done, GenerateRequest
from engine.api.finetunes import FinetuneCancelled, FinetuneDone, FinetuneEvent, FinetuneFailed, FinetuneRequest, TrainingProgress
from engine.api.takes import Heartbeat
from engine.client import EngineClient, EngineError, EngineUnreachable

Ask = Callable[..., FinetuneRequest]
BytesOf = Callable[[str], Any]


async def follow(client: EngineClient, finetune_id: str, after: int = 0) -> list[FinetuneEvent]:
    return [event async for event in client.finetune_events(finetune_id, after) if not isinstance(event, Heartbeat)]


@pytest.mark.timeout(400)  # five processes that import torch, one after the other
async def test_a_job_survives_what_is_killed_under_it(
    asked: Ask, bytes_of: BytesOf, serving: Callable[..., Any], start_engine: Callable[..., Any], base: Path, tmp_path: Path, unbroken: Any
) -> None:
    heard: list[FinetuneEvent] = []
    for known in ("findings", "codes"):  # as an engine has that learned these tracks before
        shutil.copytree(unbroken.data / known, tmp_path / known)
    async with serving(tmp_path) as engine, EngineClient(engine.url) as client:
        await client.wait_until_ready(240)
        first = await client.start_finetune(asked(), bytes_of)
        same = await client.start_finetune(asked(), bytes_of)
        assert (first.id, first.created_at) == (same.id, same.created_at)
        with pytest.raises(EngineError, match="choose another id"):
            await client.start_finetune(asked(name="Bob"), bytes_of)
        killed = False
        with pytest.raises(EngineUnreachable):
            async for event in client.finetune_events("alice"):
                if isinstance(event, Heartbeat):
                    continue
                heard.append(event)
                if isinstance(event, TrainingProgress) and not killed:
                    worker = engine.worker()
                    assert worker is not None
                    assert worker.nice() >= 10
                    worker.kill()
                    killed = True
                    take = GenerateRequest(take_id="beside", kind="text", prompt="techno", seconds=1, seed=1)
                    assert isinstance([told async for told in client.generate(take)][-1], Done)
                elif isinstance(event, TrainingProgress) and event.step > 0 and engine.process.returncode is None:
                    engine.process.kill()
                    await engine.process.wait()
    again = start_engine(checkpoint=str(base), data=tmp_path, finetune_threads=1)
    async with EngineClient(again.url) as client:
        heard += await follow(client, "alice", after=heard[-1].number)
        assert [event.number for event in heard] == list(range(1, len(heard) + 1))
        done = heard[-1]
        assert isinstance(done, FinetuneDone)
        assert await follow(client, "alice", after=2) == heard[2:]
        assert await follow(client, "alice", after=len(heard)) == []
        status = await client.finetune("alice")
        assert (status.state, status.checkpoint, status.owner, status.report) == ("done", "alice", "guild-1", done.report)
        for file in (file for clip in done.report.clips for file in (clip.before, clip.after)):
            assert (await client.finetune_file("alice", file))[:3] in (b"ID3", b"\xff\xfb\x90")
        assert done.report.picture is not None
        assert (await client.finetune_file("alice", done.report.picture)).startswith(b"\x89PNG")
        listed = {info.id: info for info in await client.checkpoints()}
        assert (listed["alice"].owner, listed["alice"].adapter, listed["alice"].gate) == ("guild-1", True, done.report.gate)
        assert await client.cancel_finetune("alice")
        with pytest.raises(EngineError, match="forgotten"):
            await client.finetune("alice")
        assert "alice" in {info.id for info in await client.checkpoints()}
    assert not list((tmp_path / "finetunes").iterdir())
    ours = load_file(tmp_path / "checkpoints" / "alice" / "adapter" / "adapter_model.safetensors")
    theirs = load_file(unbroken.data / "checkpoints" / "alice" / "adapter" / "adapter_model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all((ours[name] == theirs[name]).all() for name in ours)


async def test_cancelled_and_of_deleted_tracks(
    asked: Ask, bytes_of: BytesOf, music: dict[str, bytes], base: Path, start_engine: Callable[..., Any]
) -> None:
    engine = start_engine(checkpoint=str(base), finetune_threads=1)
    jobs = engine.settings.data / "finetunes"
    sha256 = next(iter(music))
    async with EngineClient(engine.url) as client:
        await client.start_finetune(asked("first"), bytes_of)
        assert (await client.start_finetune(asked("second"), bytes_of)).position == 0
        assert (await client.start_finetune(asked("third"), bytes_of)).position == 1
        assert await client.cancel_finetune("second")
        assert [event.event for event in await follow(client, "second")] == ["queued", "cancelled"]
        assert (await client.finetune("third")).position == 0
        async for event in client.finetune_events("first"):
            if event.event == "preparing":
                break  # its process is there
        metrics = engine.app.state.engine.metrics.text().decode()
        assert "engine_finetunes_running 1.0" in metrics
        assert 'engine_finetunes_total{outcome="cancelled",recipe="lora"} 1.0' in metrics
        await client.forget_track(sha256)
        failed = (await follow(client, "first"))[-1]
        assert isinstance(failed, FinetuneFailed)
        assert failed.message.startswith("Track 0 was deleted while the finetune learned from it")
        assert not (jobs / "third" / "tracks" / f"{sha256}.audio").exists()  # it goes on without
        assert await client.cancel_finetune("third")  # its process has hardly begun
        assert isinstance((await follow(client, "third"))[-1], FinetuneCancelled)
        assert {path.name for path in (jobs / "third").iterdir()} <= {"job.json", "events.jsonl", "lock"}
        assert not (engine.settings.data / "checkpoints").exists()
        assert not await client.cancel_finetune("nobody")


async def test_what_is_refused(asked: Ask, bytes_of: BytesOf, base: Path, start_engine: Callable[..., Any]) -> None:
    engine = start_engine(checkpoint=str(base))
    async with EngineClient(engine.url) as client:
        for request, words in [
            (asked(base="nothing"), "There is no checkpoint 'nothing' here"),
            (asked(tracks=asked().tracks[:2]), "3 tracks are the least, one of which is held out: add 1"),
        ]:
            with pytest.raises(EngineError, match=words):
                await client.start_finetune(request, bytes_of)
        with pytest.raises(EngineError, match="There is no finetune"):
            await follow(client, "alice")
    idle = start_engine(checkpoint=str(base), finetunes=0)
    async with EngineClient(idle.url) as client:
        with pytest.raises(EngineError, match="takes no finetunes"):
            await client.start_finetune(asked(), bytes_of)
