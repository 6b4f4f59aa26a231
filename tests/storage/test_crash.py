"""kill -9 in the middle of writes: what was said to be done is there, and nothing is broken."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from storage import open_store
from storage.check import check

WRITER = """
import asyncio, os, sys
from pathlib import Path
from storage import Clip, open_store

async def write(store, number):
    while True:
        take = await store.takes.create(guild_id=number, channel_id=1, member_id=1, kind="text", prompt="techno", seconds=8,
                                        guidance_scale=3, temperature=1)
        await store.takes.start(take.id)
        hashes = [await store.blobs.put(os.urandom(300_000)) for _ in range(3)]
        clip = Clip(sha256=hashes[0], delivery_sha256=hashes[1], delivery_extension="mp3", picture_sha256=hashes[2], duration_s=8,
                    sample_rate=32000, channels=1)
        await store.takes.keep_clip(take.id, clip, seed=1, checkpoint="pocket", checkpoint_kind="base")
        await store.takes.attach_message(take.id, int(take.id[:14], 16), 1)
        await store.takes.finish(take.id)
        await store.ratings.reconcile(take.id, {1: 5, 2: 4})
        print(take.id, flush=True)

async def main():
    async with open_store(Path(sys.argv[1])) as store:
        await asyncio.gather(*(write(store, number) for number in range(4)))

asyncio.run(main())
"""


def write_until_killed(folder: Path, lines: int) -> list[str]:
    """Ids of the takes that the process said were done, at least ``lines`` of them."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline() for _ in range(lines)]
        writer.kill()
        said += writer.stdout
    return [line.strip() for line in said if line.endswith("\n")]


@pytest.mark.parametrize("lines", [1, 4, 9])
async def test_killed_while_writing(tmp_path: Path, lines: int) -> None:
    said = await asyncio.to_thread(write_until_killed, tmp_path, lines)
    report = check(tmp_path)
    assert report.good, report.findings
    async with open_store(tmp_path) as store:
        for take_id in said:
            take = await store.takes.get(take_id)
            assert take is not None
            assert take.state == "done"
            assert take.clip is not None
            assert len(await store.blobs.get(take.clip.sha256)) == 300_000
            assert len(await store.ratings.for_take(take_id)) == 2
        for take in await store.takes.unfinished():
            await store.takes.fail(take.id, "The bot was restarted.")
        assert len(await store.takes.recent_messages()) >= lines
    assert check(tmp_path).good
