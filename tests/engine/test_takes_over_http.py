"""Takes through the real client, the real app under uvicorn and a tiny model: events, clips, determinism, continuation, leaving."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
import mutagen
import numpy as np
import pytest
import soundfile

from engine.api import Delivery, Done, GenerateRequest, Heartbeat, Progress, Queued, Sampling
from engine.client import EngineClient, EngineError

Files = Callable[[str], Path]
Collect = Callable[[EngineClient, GenerateRequest], Any]


def text(take_id: str = "t", **changes: Any) -> GenerateRequest:
    return GenerateRequest.model_validate(
        {"take_id": take_id, "kind": "text", "prompt": "dark techno", "seconds": 1.0, "seed": 1} | changes
    )


def samples_of(data: bytes) -> tuple[Any, int]:
    """float32 [N, C], rate"""
    return soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)  # type: ignore[no-any-return]


async def idle(client: EngineClient) -> None:
    """Returns when nothing waits or runs."""
    async with asyncio.timeout(30):
        while (health := await client.health()).running or health.queue:  # noqa: ASYNC110 - what is awaited is in another thread
            await asyncio.sleep(0.02)


async def test_a_text_take_from_queued_to_done(client: EngineClient, collect: Collect) -> None:
    events = await collect(client, text(seconds=3.0, delivery=Delivery(title="Night shift")))
    kinds = [type(event) for event in events if not isinstance(event, Heartbeat)]
    assert kinds[0] is Queued
    assert kinds[-1] is Done
    assert set(kinds[1:-1]) == {Progress}
    frames = [event.frames for event in events if isinstance(event, Progress)]
    assert frames == sorted(frames)
    assert frames[-1] == 150
    done = events[-1]
    assert (done.seed, done.checkpoint, done.checkpoint_kind, done.prompt, done.seam_s) == (1, "checkpoint", "base", "dark techno", None)
    assert (done.duration_s, done.sample_rate, done.channels) == (3.0, 32000, 1)
    assert done.loudness_lufs == pytest.approx(-14, abs=0.5)
    assert done.peak_dbfs <= -1.0
    assert 0 < done.generate_s < done.total_s


async def test_what_comes_out_can_be_played_and_says_what_it_is(client: EngineClient, collect: Collect) -> None:
    done = (await collect(client, text(delivery=Delivery(title="Night shift"))))[-1]
    clip, rate = samples_of(done.clip.bytes())
    assert (done.clip.extension, done.clip.media_type, rate, clip.shape) == ("flac", "audio/flac", 32000, (32000, 1))
    assert done.delivery.extension == "mp3"
    tags = mutagen.File(io.BytesIO(done.delivery.bytes())).tags
    assert tags["TIT2"].text == ["Night shift"]
    assert {frame.desc: frame.text for frame in tags.getall("TXXX")} == {
        "PROMPT": ["dark techno"],
        "SEED": ["1"],
        "CHECKPOINT": ["checkpoint"],
        "AI_GENERATED": ["true"],
    }
    assert "AI-generated" in str(tags.getall("COMM")[0])
    assert tags["TCOP"].text == ["unknown: ask whoever trained it"]
    assert done.picture.bytes().startswith(b"\x89PNG")


async def test_the_delivery_fits(client: EngineClient, collect: Collect) -> None:
    done = (await collect(client, text(seconds=6.0, delivery=Delivery(format="wav", max_bytes=100_000))))[-1]
    assert (done.delivery.extension, done.clip.extension) == ("mp3", "flac")
    assert len(done.delivery.bytes()) <= 100_000


async def test_a_seed_replays_to_the_same_bytes_alone_or_beside_others(client: EngineClient, collect: Collect) -> None:
    alone = (await collect(client, text("alone")))[-1]
    again, _other, beside = await asyncio.gather(
        collect(client, text("again")), collect(client, text("other", seed=2, seconds=2.0)), collect(client, text("beside"))
    )
    assert alone.clip == again[-1].clip == beside[-1].clip
    assert alone.delivery == again[-1].delivery
    assert alone.clip != _other[-1].clip


async def test_without_a_seed_one_is_drawn_and_told(client: EngineClient, collect: Collect) -> None:
    drawn = (await collect(client, text(seed=None)))[-1]
    assert (await collect(client, text(seed=drawn.seed)))[-1].clip == drawn.clip


async def test_every_option_reaches_the_model(client: EngineClient, collect: Collect) -> None:
    plain = (await collect(client, text()))[-1].clip
    for sampling in (Sampling(temperature=0), Sampling(top_k=2), Sampling(top_p=0.2), Sampling(guidance_scale=1)):
        assert (await collect(client, text(sampling=sampling)))[-1].clip != plain
    assert (await collect(client, text(prompt="house")))[-1].clip != plain


async def test_unconditional(client: EngineClient, collect: Collect) -> None:
    done = (await collect(client, GenerateRequest(take_id="s", kind="unconditional", seconds=1.0, seed=4)))[-1]
    assert (done.prompt, done.duration_s, done.seam_s) == ("", 1.0, None)


async def test_a_finetuned_checkpoint_by_its_id(client: EngineClient, collect: Collect) -> None:
    known = {info.id: info for info in await client.checkpoints()}
    assert next(iter(known)) == "checkpoint"
    assert known["checkpoint"].default
    assert (known["alice"].kind, known["alice"].token, known["alice"].name, known["alice"].licence) == (
        "finetuned",
        "Alice_hash",
        "Alice",
        "hers",
    )
    done = (await collect(client, text(checkpoint="alice")))[-1]
    assert (done.checkpoint, done.checkpoint_kind) == ("alice", "finetuned")
    assert done.clip != (await collect(client, text()))[-1].clip
    now = {info.id: info for info in await client.checkpoints()}
    assert now["alice"].sha256 is not None
    assert now["alice"].parameters == known["alice"].parameters


async def test_a_stereo_checkpoint(client: EngineClient, collect: Collect) -> None:
    done = (await collect(client, text(checkpoint="stereo")))[-1]
    clip, _rate = samples_of(done.clip.bytes())
    assert (done.channels, clip.shape) == (2, (32000, 2))


# Continuation.


@pytest.mark.parametrize("name", ["track.wav", "track.mp3", "phone.wav", "surround.wav", "video.mp4"])
async def test_a_continuation_begins_with_the_tracks_own_samples(client: EngineClient, collect: Collect, files: Files, name: str) -> None:
    from engine.music.audio import decode, resample

    data = files(name).read_bytes()
    track = await client.put_track(data)
    request = GenerateRequest(take_id="c", kind="continuation", track=track.sha256, from_s=4.0, prompt_seconds=2.0, seconds=1.0, seed=1)
    done = (await collect(client, request))[-1]
    assert (done.seam_s, done.duration_s) == (pytest.approx(2.0, abs=0.001), pytest.approx(3.0, abs=0.001))
    clip, rate = samples_of(done.clip.bytes())
    own = resample(decode(data, start_s=2.0, duration_s=2.0), rate, done.channels).samples.T  # [N, C]
    inside = slice(rate // 4, 2 * rate - rate // 10)
    gain = float(np.sum(clip[inside] * own[inside]) / np.sum(own[inside] ** 2))
    assert done.peak_dbfs < -1.05  # so loud a track is only turned down: one gain for all of it, no limiting
    assert np.abs(clip[inside] - gain * own[inside]).max() < 1e-4  # 16 bits


async def test_a_continuation_goes_on_from_the_end_unless_told(client: EngineClient, collect: Collect, files: Files) -> None:
    track = await client.put_track(files("track.wav").read_bytes())
    at_end = GenerateRequest(take_id="c", kind="continuation", track=track.sha256, seconds=1.0, seed=1)
    assert (await collect(client, at_end))[-1].clip == (await collect(client, at_end.model_copy(update={"from_s": 12.0})))[-1].clip
    early = (await collect(client, at_end.model_copy(update={"from_s": 1.5})))[-1]
    assert early.seam_s == pytest.approx(1.5, abs=0.001)  # there is no more before it


async def test_a_continuation_hears_words_too(client: EngineClient, collect: Collect, files: Files) -> None:
    track = await client.put_track(files("track.wav").read_bytes())
    request = GenerateRequest(take_id="c", kind="continuation", track=track.sha256, seconds=1.0, seed=1)
    assert (await collect(client, request))[-1].clip != (await collect(client, request.model_copy(update={"prompt": "acid"})))[-1].clip


@pytest.mark.parametrize(
    ("name", "from_s", "code", "words"),
    [
        ("track.wav", 30.0, "bad_request", "The track is 0:12 long (12.0 s): it can't be continued from 0:30."),
        ("track.wav", 0.0, "bad_request", "There is too little to continue: only 0.0 s of the track come before it, and 0.5 s are needed."),
        ("short.wav", None, "bad_request", "There is too little to continue: the track is only 0.3 s long"),
        ("ends_silent.wav", None, "bad_audio", "That part of the track is silent"),
        ("silent.wav", 5.0, "bad_audio", "That part of the track is silent"),
    ],
)
async def test_nothing_to_continue(
    client: EngineClient, collect: Collect, files: Files, name: str, from_s: float | None, code: str, words: str
) -> None:
    track = await client.put_track(files(name).read_bytes())
    with pytest.raises(EngineError) as caught:
        await collect(client, GenerateRequest(take_id="c", kind="continuation", track=track.sha256, from_s=from_s))
    assert caught.value.code == code
    assert caught.value.message.startswith(words)


async def test_unknown_track_and_checkpoint(client: EngineClient, collect: Collect) -> None:
    with pytest.raises(EngineError) as caught:
        await collect(client, GenerateRequest(take_id="c", kind="continuation", track="0" * 64))
    assert caught.value.code == "unknown_track"
    with pytest.raises(EngineError) as caught:
        await collect(client, text(checkpoint="nowhere"))
    assert caught.value.code == "unknown_checkpoint"
    assert caught.value.message.startswith("There is no checkpoint 'nowhere' here: choose one of checkpoint,")


async def test_a_damaged_checkpoint_is_told_without_its_path(client: EngineClient, collect: Collect, shared_engine: Any) -> None:
    with pytest.raises(EngineError) as caught:
        await collect(client, text(checkpoint="broken"))
    assert caught.value.code == "unknown_checkpoint"
    assert "'broken'" in caught.value.message
    assert str(shared_engine.settings.data) not in caught.value.message


# Leaving early.


async def test_closing_the_iterator_cancels(client: EngineClient) -> None:
    async with aclosing(client.generate(text(seconds=240))) as events:
        async for event in events:
            if isinstance(event, Progress):
                break
    await idle(client)


async def test_a_cancelled_task_cancels_its_take(client: EngineClient, collect: Collect) -> None:
    running = asyncio.Event()

    async def play() -> None:
        async for event in client.generate(text(seconds=240)):
            if isinstance(event, Progress):
                running.set()

    task = asyncio.create_task(play())
    await running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await idle(client)


async def test_a_client_that_dies_cancels_its_take(client: EngineClient, shared_engine: Any) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(shared_engine.url.rpartition(":")[2]))
    body = text("dies", seconds=240).model_dump_json().encode()
    writer.write(
        b"POST /v1/takes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    await reader.readuntil(b"progress")
    writer.transport.abort()  # RST, as when a process is killed
    await idle(client)


async def test_a_take_is_cancelled_by_its_id(client: EngineClient) -> None:
    with pytest.raises(EngineError) as caught:
        async for event in client.generate(text("by-id", seconds=240)):
            if isinstance(event, Progress):
                await client.cancel("by-id")
    assert (caught.value.code, caught.value.message) == ("cancelled", "The take was cancelled.")
    assert not await client.cancel("by-id")
    await idle(client)


async def test_the_same_id_again_replaces_the_first(client: EngineClient, collect: Collect) -> None:
    """A client that lost its connection comes back before the engine has noticed."""
    with pytest.raises(EngineError) as caught:
        async for event in client.generate(text("same", seconds=240)):
            if isinstance(event, Progress):
                assert isinstance((await collect(client, text("same")))[-1], Done)
    assert caught.value.code == "cancelled"


async def test_waiting_takes_hear_where_they_stand(client: EngineClient) -> None:
    """Two run; the third waits, and moves up when one leaves."""
    async with aclosing(client.generate(text("1", seconds=240))) as first, aclosing(client.generate(text("2", seconds=240))) as second:
        for events in (first, second):
            async for event in events:
                if isinstance(event, Progress):
                    break
        async with aclosing(client.generate(text("3", seconds=1.0))) as third:
            queued = await anext(third)
            assert isinstance(queued, Queued)
            assert queued.position == 0
            assert queued.eta_s > 1.0
            await first.aclose()
            assert [type(event) async for event in third if not isinstance(event, Heartbeat)][-1] is Done


async def test_heartbeats_while_nothing_else_happens(shared_engine: Any) -> None:
    from engine.service import Take

    take = Take("quiet", lambda: None)
    lines = take.lines(heartbeat_s=0.01)
    assert [await anext(lines) for _ in range(3)] == [b'{"event":"heartbeat"}\n'] * 3
    take.tell(Queued(position=1, eta_s=2.0))
    take.tell(Queued(position=0, eta_s=1.0))
    take.tell(Progress(frames=1, of_frames=9, eta_s=0.9))
    take.tell(Progress(frames=2, of_frames=9, eta_s=0.8))
    take.end(b"last\n")
    take.end(b"too late\n")
    assert [line async for line in lines] == [
        b'{"event":"queued","position":0,"eta_s":1.0}\n',
        b'{"event":"progress","frames":2,"of_frames":9,"eta_s":0.8}\n',
        b"last\n",
    ]


async def test_large_clips_arrive(client: EngineClient, collect: Collect) -> None:
    """A line of megabytes."""
    done = (
        await collect(client, text(seconds=20.0, delivery=Delivery(format="wav", max_bytes=2**30), sampling=Sampling(guidance_scale=1)))
    )[-1]
    assert done.duration_s == 20.0
    assert len(done.delivery.bytes()) > 1_200_000


async def test_the_stream_is_ndjson_that_no_proxy_holds_back(shared_engine: Any) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{shared_engine.url}/v1/takes", data=text().model_dump_json(), headers={"Content-Type": "application/json"}
        ) as response,
    ):
        assert response.headers["Content-Type"] == "application/x-ndjson"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert response.headers["Cache-Control"] == "no-store"
        assert (await response.read()).endswith(b"}\n")
