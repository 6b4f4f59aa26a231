"""Tempo, key, bars and loops in Discord: what reaches the engine, what the message says, also after a restart."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from typing import Any

import mutagen
import pytest
import soundfile as sf

from bot.orders import parse_length, suggest_keys
from bot.refusal import Refusal
from engine.api.takes import Loop, Music


async def test_what_is_asked_reaches_the_engine_and_what_came_out_is_said(world: Any, scripted: Any, done: Callable[..., Any]) -> None:
    scripted.events = [done(heard=Music(bpm=128.9, key="A minor"), loop=Loop(bars=8, bpm=130.0, own_bpm=128.9))]
    await world.alice.slash(world.lab, "generate", prompt="acid techno", bpm=130.0, key="8A", bars=8, loop=True)
    await world.until(lambda: world.last().attachments, "posted")
    (order,) = scripted.requests
    assert (order.bpm, order.key, order.bars, order.loop, order.seconds) == (130.0, "A minor", 8, True, None)
    assert order.delivery.format == "wav"  # to the sample
    text = world.text(world.last())
    assert "**acid techno** · 130 BPM in 8A · 8 bars loop" in text
    assert "🎚️ asked 130 BPM in 8A, came out 128.9 BPM in 8A ✓; 8 bars, loops at exactly 130 BPM, stretched by 0.8 %" in text
    assert world.last().attachments[0].filename == "acid-techno-8-bars-130-bpm-5.mp3"
    take = await world.take_of(world.last())
    assert (take.bpm, take.key, take.bars, take.loop, take.clip.heard_bpm, take.clip.heard_key) == (
        130,
        "A minor",
        8,
        True,
        128.9,
        "A minor",
    )

    await world.alice.click(world.last(), label="Again")
    await world.until(lambda: len(scripted.requests) == 2, "asked again")
    again = scripted.requests[1]
    assert (again.bpm, again.key, again.bars, again.loop, again.seconds) == (130.0, "A minor", 8, True, None)
    await world.until(world.queue_is_empty, "ended")


async def test_a_continuation_says_the_tracks_tempo_and_its_name_also_after_a_restart(
    world: Any, scripted: Any, done: Callable[..., Any]
) -> None:
    posted = asyncio.Event()
    scripted.events = [posted.wait]
    await world.alice.slash(world.lab, "continue", track=("Alice's set.mp3", b"set"), bars=4)
    await world.until(lambda: scripted.requests, "asked")
    assert scripted.requests[0].bars == 4
    left = world.last()
    await world.restart()
    await world.until(world.queue_is_empty, "taken up")
    failed = next(message for message in world.messages() if message.id == left.id)
    assert "**Alice's set**, continued from its end\n4 bars" in world.text(failed)

    scripted.events = [done(seam_s=2.0, track=Music(bpm=128.0, key="A minor"), heard=Music(bpm=123.0))]
    await world.alice.click(failed, label="Try again")
    await world.until(lambda: world.last().attachments, "posted")
    text = world.text(world.last())
    assert "**Alice's set**, continued from its end" in text
    assert "🎚️ track 128 BPM in 8A, came out 123 BPM (3.9 % too slow, key unclear)" in text
    assert world.last().attachments[0].filename.startswith("alice-s-set-continued-")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bars": 8}, "Bars have no length without a tempo: give bpm too."),
        ({"bars": 8, "bpm": 130.0, "seconds": 4.0}, "Give the length in bars or in seconds, not in both."),
        ({"bpm": 20.0}, "BPM must be from 60 to 200, not 20."),
        ({"key": "purple"}, "'purple' is no key: write it as Am, A minor or 8A."),
    ],
)
async def test_what_makes_no_sense_is_refused_before_anything_is_made(world: Any, options: dict[str, Any], words: str) -> None:
    refused = await world.alice.slash(world.lab, "generate", prompt="techno", **options)
    assert refused.ephemeral and words in world.said(refused)


async def test_keys_are_suggested_as_a_dj_types_them(world: Any) -> None:
    for typed, expected in (("Am", ["A minor"]), ("8", ["A minor", "C major"]), ("f#", ["F# major", "F# minor"]), ("4A", ["F minor"])):
        choices = await world.alice.autocomplete(world.lab, "generate", "key", typed)
        assert [choice["value"] for choice in choices] == expected
    everything = await world.alice.autocomplete(world.lab, "continue", "key", "")
    assert len(everything) == 24
    assert everything[0]["name"] == "1A · Ab minor"
    assert suggest_keys("purple") == []


def test_the_modal_takes_bars_too() -> None:
    assert parse_length("8", "New music") == (8.0, None, False)
    assert parse_length("8 bars", "New music") == (None, 8, False)
    assert parse_length("16 bars, loop", "New music") == (None, 16, True)
    assert parse_length("", "New music") == (None, None, False)
    assert parse_length("12,5 loop", "New music") == (12.5, None, True)
    with pytest.raises(Refusal, match="or of bars, such as `8 bars`"):
        parse_length("many", "New music")


async def test_a_real_loop_is_a_wav_of_whole_bars(world: Any, engine_url: str) -> None:
    await world.alice.slash(world.lab, "generate", prompt="techno", bpm=130.0, key="Am", bars=1, loop=True, seed=7)
    await world.until(world.queue_is_empty, "posted")
    message = world.last()
    take = await world.take_of(message)
    assert take.clip.loop_bpm is not None
    data = await message.attachments[0].read()
    samples, rate = sf.read(io.BytesIO(data))
    assert len(samples) == round(take.clip.loop_bars * 240 / take.clip.loop_bpm * rate)
    tags = mutagen.File(io.BytesIO(data)).tags
    assert str(tags["COMM::eng"]).startswith("AI-generated with checkpoint, seed 7, ")
    assert tags.getall("APIC")
    assert take.prompt_kind == "other"  # the model was told more than "techno"
