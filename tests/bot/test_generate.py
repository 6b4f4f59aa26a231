"""Real bot, real engine, real audio: what comes of asking, and the buttons under it."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import soundfile as sf

from bot.orders import clock


async def test_a_clip_is_one_message_with_audio_picture_facts_buttons_and_scale(world: Any, engine_url: str) -> None:
    result = await world.alice.slash(world.lab, "generate", prompt="dark *warehouse* techno", seconds=2.0, seed=7)
    await world.until(lambda: len(world.last().reactions) == 5, "posted")

    assert not result.ephemeral
    (message,) = world.messages()
    audio, picture = message.attachments[0], message.embeds[0].image
    assert audio.filename == "dark-warehouse-techno-7.mp3"
    samples, rate = sf.read(io.BytesIO(await audio.read()))
    assert abs(len(samples) / rate - 2.0) < 0.1
    assert picture.url and "picture.png" in picture.url
    text = world.text(message)
    assert r"**dark \*warehouse\* techno**" in text
    assert "2 s · seed `7` · checkpoint ||checkpoint||" in text
    assert world.labels(message) == ["Again", "Continue", "Keep in crate", "Delete"]
    assert [str(reaction.emoji) for reaction in message.reactions] == ["1️⃣", "2️⃣", "3️⃣", "4️⃣", "5️⃣"]
    take = await world.take_of(message)
    assert (take.state, take.seed, take.category, take.member_id) == ("done", 7, "other", world.alice.id)


async def test_a_track_is_continued_kept_and_continued_again_from_the_crate(world: Any, engine_url: str, track: bytes) -> None:
    await world.alice.slash(world.lab, "continue", track=("Alice's_set.flac", track), seconds=1.0, prompt_seconds=1.0, **{"from": "0:02"})
    await world.until(world.queue_is_empty, "posted")
    first = world.last()
    assert "**Alice's set**, continued from 2 s" in world.text(first)
    assert first.attachments[0].filename.startswith("alice-s-set-continued-")
    take = await world.take_of(first)
    assert take.track_sha256 == hashlib.sha256(track).hexdigest()
    assert abs(take.clip.duration_s - take.clip.seam_s - 1.0) < 0.1
    assert f"new from {clock(take.clip.seam_s)}" in world.text(first)

    kept = await world.bob.click(first, label="Keep in crate")
    assert kept.ephemeral and "is in the crate" in world.said(kept)
    (choice,) = await world.bob.autocomplete(world.lab, "continue", "crate", "contin")
    await world.bob.slash(world.lab, "continue", crate=choice["value"], seconds=1.0)
    await world.until(world.queue_is_empty, "posted")
    second = await world.take_of(world.last())
    assert second.track_sha256 == take.clip.sha256
    assert abs(second.clip.duration_s - second.clip.seam_s - 1.0) < 0.1


async def test_again_is_the_same_with_another_seed_and_continue_asks_how(world: Any, engine_url: str) -> None:
    await world.alice.slash(world.lab, "surprise", seconds=1.0, seed=3)
    await world.until(world.queue_is_empty, "posted")
    first = world.last()
    assert "**Surprise** (no prompt)" in world.text(first)
    await world.bob.click(first, label="Again")
    await world.until(world.queue_is_empty, "posted")
    again = await world.take_of(world.last())
    original = await world.take_of(first)
    assert (again.kind, again.seconds, again.parent_take_id) == ("unconditional", 1.0, original.id)
    assert again.seed != original.seed == 3
    assert again.member_id == world.bob.id

    asked = await world.bob.click(first, label="Continue")
    assert asked.modal["title"] == "Continue this track"
    await world.bob.submit_modal(asked, {"seconds": "1", "from": "", "prompt_seconds": "1", "prompt": "techno"})
    await world.until(world.queue_is_empty, "posted")
    continued = await world.take_of(world.last())
    assert continued.track_sha256 == original.clip.sha256
    assert (continued.prompt, continued.prompt_kind, continued.category) == ("techno", "plain", "D")
