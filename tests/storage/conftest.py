"""A real store in a temporary folder, and the short way to a posted clip."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from storage import Clip, Store, Take, open_store

_message_ids = itertools.count(1_200_000_000_000_000_000)

MakeTake = Callable[..., Awaitable[Take]]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def queued() -> MakeTake:
    """``await queued(store, guild_id=…, prompt=…)``: a take that waits."""
    return _queued


@pytest.fixture
def posted() -> MakeTake:
    """``await posted(store, guild_id=…, prompt=…, checkpoint_kind=…)``: a take that is done, with blobs and a message."""
    return _posted


async def _queued(store: Store, **changes: Any) -> Take:
    asked: dict[str, Any] = {
        "guild_id": 1,
        "channel_id": 20,
        "member_id": 300,
        "kind": "text",
        "prompt": "techno",
        "seconds": 8.0,
        "guidance_scale": 3.0,
        "temperature": 1.0,
    }
    return await store.takes.create(**asked | changes)


async def _posted(store: Store, *, checkpoint_kind: Any = "base", **changes: Any) -> Take:
    take = await _queued(store, **changes)
    await store.takes.start(take.id)
    clip = Clip(
        sha256=await store.blobs.put(f"flac {take.id}".encode()),
        delivery_sha256=await store.blobs.put(f"mp3 {take.id}".encode()),
        delivery_extension="mp3",
        picture_sha256=await store.blobs.put(f"png {take.id}".encode()),
        duration_s=8.0,
        sample_rate=32000,
        channels=1,
    )
    await store.takes.keep_clip(take.id, clip, seed=7, checkpoint="pocket", checkpoint_kind=checkpoint_kind)
    await store.takes.attach_message(take.id, next(_message_ids), take.channel_id)
    return await store.takes.finish(take.id)
