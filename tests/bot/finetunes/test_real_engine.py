"""One finetune with everything real but Discord: the tiny model learns three tracks in a process of its own, and makes a clip of it."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from engine.api.finetunes import FinetuneOverrides, FinetuneRequest, FinetuneStatus
from engine.client import EngineClient


def techno(seed: int) -> bytes:
    """Eight seconds of a kick over a bass line of its own."""
    at = np.arange(8 * 32000) / 32000 * (124 + 4 * seed) / 60
    note = 50.0 * 2 ** (np.random.default_rng(seed).choice([0, 3, 7, 10], 16)[(at * 2).astype(int) % 16] / 12)
    sound = np.sin(2 * np.pi * 50 * at) * np.exp(-6 * (at % 1)) + 0.3 * np.sign(np.sin(2 * np.pi * np.cumsum(note) / 32000))
    out = io.BytesIO()
    sf.write(out, (0.5 * sound).astype(np.float32), 32000, format="FLAC")
    return out.getvalue()


@pytest.fixture
def short(engine: EngineClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same finetune in a few steps, judged by a few clips."""
    begin = engine.start_finetune

    async def start_finetune(request: FinetuneRequest, bytes_of: Any) -> FinetuneStatus:
        fewer = {"overrides": FinetuneOverrides(steps=3, rank=2), "clips": 4, "clip_seconds": 4.0}
        return await begin(request.model_copy(update=fewer), bytes_of)

    monkeypatch.setattr(engine, "start_finetune", start_finetune)


async def test_the_crate_is_learned_and_heard(world: Any, engine_url: str, short: None) -> None:
    for seed in range(3):
        data = techno(seed)
        sha256 = await world.store.blobs.put(data)
        facts: dict[str, Any] = {"filename": f"{seed}.flac", "title": f"Nacht {seed}", "artist": "Alice", "duration_s": 8.0}
        await world.store.tracks.add(
            world.guild.id, world.alice.id, sha256=sha256, **facts, sample_rate=32000, channels=1, codec="flac", size_bytes=len(data)
        )
    await world.mira.slash(world.lab, "finetune start", name="Warehouse")
    async with asyncio.timeout(120):
        while await world.store.finetunes.under_way(world.guild.id) is not None:
            await world.env.advance_time(5)
            await asyncio.sleep(0.05)
    (finetune,) = await world.store.finetunes.list(world.guild.id)
    assert (finetune.state, finetune.error) == ("done", None)
    text = world.text(world.messages()[0])
    assert "Report card · Warehouse" in text and finetune.verdict in text.replace("\\", "")
    names = [file.filename for file in world.messages()[0].attachments]
    assert "report-card.png" in names and "training.png" in names and len(names) == 10

    await world.mira.slash(world.lab, "finetune use", name="Warehouse")
    await world.bob.slash(world.lab, "generate", prompt="Alice_hash", seconds=1, strength=50)
    await world.until(lambda: world.last().attachments and len(world.messages()) == 3, "a clip")
    assert "||Warehouse (finetune), strength 50 %" in world.text(world.last())
    take = await world.take_of(world.last())
    assert (take.checkpoint, take.checkpoint_kind, take.strength) == (finetune.checkpoint, "finetuned", 0.5)

    elsewhere = world.env.create_guild("Elsewhere")
    stranger = elsewhere.add_member(world.env.create_user("stranger"))
    hall = elsewhere.create_text_channel("hall")
    choices = await stranger.autocomplete(hall, "generate", "checkpoint", "", prompt="techno")
    assert choices and all(choice["value"] != finetune.checkpoint for choice in choices)
    assert await stranger.autocomplete(hall, "finetune use", "name", "Ware") == []
