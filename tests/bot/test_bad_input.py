"""Everything that a person may get wrong in a command is answered at once, in private, with what to do. Nothing is made."""

from __future__ import annotations

from typing import Any

import discord
import pytest


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seconds": 0.0}, "Seconds must be from 1 to 240, not 0."),
        ({"seconds": -1.0}, "Seconds must be from 1 to 240, not -1."),
        ({"seconds": 10_000.0}, "Seconds must be from 1 to 240, not 10000."),
        ({"takes": 0}, "`takes` must be from 1 to 4, not 0."),
        ({"takes": 5}, "`takes` must be from 1 to 4, not 5."),
        ({"seed": -1}, "Seed must be from 0 to 4294967295, not -1."),
        ({"guidance": 11.0}, "Guidance must be from 1 to 10, not 11."),
        ({"temperature": -0.5}, "Temperature must be from 0 to 3, not -0.5."),
        ({"prompt": "  "}, "Say what it should sound like, for example"),
        ({"prompt": "a" * 4000}, "That prompt has 4,000 characters, and 1,000 is the most."),
        ({"prompt": "🎉🔊🕺"}, "The model reads words, and there is none in that prompt."),
        ({"checkpoint": "x" * 300}, "The checkpoint has 300 characters and at most 200 fit: shorten it."),
    ],
)
async def test_generate(world: Any, scripted: Any, options: dict[str, Any], words: str) -> None:
    refused = await world.alice.slash(world.lab, "generate", **({"prompt": "techno"} | options))
    assert refused.ephemeral
    assert words in world.said(refused)
    assert scripted.requests == [] and await world.queue() == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seconds": 0.0}, "Seconds must be from 1 to 240"),
        ({"prompt_seconds": 0.0}, "Prompt seconds must be from 0.5 to 20"),
        ({"from": "the drop"}, "`from` must be a time in the track, such as `90` (seconds) or `1:30`."),
        ({"from": "-3"}, "`from` must be a time in the track"),
        ({"prompt": "🎉"}, "The model reads words"),
        ({"track": ("holiday.jpg", b"jpeg")}, "**holiday.jpg** is no audio file. Attach MP3, WAV, FLAC"),
    ],
)
async def test_continue(world: Any, scripted: Any, options: dict[str, Any], words: str) -> None:
    refused = await world.alice.slash(world.lab, "continue", **({"track": ("set.mp3", b"set")} | options))
    assert refused.ephemeral
    assert words in world.said(refused)
    assert scripted.tracks == {} and await world.queue() == []


async def test_surprise(world: Any, scripted: Any) -> None:
    refused = await world.alice.slash(world.lab, "surprise", seconds=0.0)
    assert refused.ephemeral and "Seconds must be from 1 to 240" in world.said(refused)


async def test_a_prompt_with_words_and_emoji_is_fine(world: Any, scripted: Any, done: Any) -> None:
    scripted.events = [done()]
    await world.alice.slash(world.lab, "generate", prompt="techno 🔊\n  für   Bären")
    await world.until(lambda: world.last().attachments, "posted")
    assert scripted.requests[0].prompt == "techno 🔊 für Bären"
    assert world.last().attachments[0].filename == "techno-fur-baren-5.mp3"


async def test_an_upload_of_50_mb_is_refused_before_it_is_fetched(world: Any, scripted: Any) -> None:
    refused = await world.alice.slash(world.lab, "continue", track=("set.wav", bytes(50_000_000)))
    assert refused.ephemeral
    assert "**set.wav** has 48 MiB, and 40 MiB is the most. Send it as MP3" in world.said(refused)
    assert scripted.tracks == {}


async def test_an_unexpected_error_is_logged_and_answered_kindly(world: Any, scripted: Any, caplog: pytest.LogCaptureFixture) -> None:
    world.env.allowed.append(discord.HTTPException)
    world.env.inject_error("POST", "/interactions/*/callback", status=400, code=1, message="a surprise")
    await world.alice.slash(world.lab, "help")
    assert "unexpected error in help" in caplog.text
    assert "Something went wrong that shouldn't have" in world.text(world.lab.history(viewer=world.alice)[-1])
