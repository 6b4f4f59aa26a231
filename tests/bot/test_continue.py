"""``/continue`` where it is told what it can't do, and what reaches the engine where it can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


async def test_what_is_asked_reaches_the_engine(world: Any, scripted: Any, done: Callable[..., Any]) -> None:
    scripted.events = [done(seam_s=2.0)]
    await world.alice.slash(
        world.lab, "continue", track=("set.mp3", b"set"), prompt_seconds=2.5, seconds=30.0, prompt="acid", **{"from": "0:09.5"}
    )
    await world.until(lambda: world.last().attachments, "posted")
    (order,) = scripted.requests
    assert (order.kind, order.from_s, order.prompt_seconds, order.seconds, order.prompt) == ("continuation", 9.5, 2.5, 30.0, "acid")
    assert list(scripted.tracks.values()) == [b"set"]
    assert "**set**, continued from 9.5 s" in world.text(world.last())
    assert "new from 2 s" in world.text(world.last())


async def test_one_source_is_needed_and_only_one(world: Any, scripted: Any) -> None:
    none = await world.alice.slash(world.lab, "continue", seconds=8.0)
    assert none.ephemeral and "Attach a track to `track`, or pick one of the crate's" in world.said(none)
    both = await world.alice.slash(world.lab, "continue", track=("a.mp3", b"a"), crate="1")
    assert "not both" in world.said(both)


async def test_from_past_the_end_of_an_upload_is_found_by_the_engine_and_said_in_the_takes_message(world: Any, scripted: Any) -> None:
    await world.alice.slash(world.lab, "continue", track=("set.mp3", b"set"), **{"from": "5:00"})
    await world.until(world.queue_is_empty, "ended")
    assert "That track is 10 s long, so it can't go on from 5:00. Give a `from` before 10 s" in world.text(world.last())
    assert scripted.requests == []


async def test_from_past_the_end_of_a_clip_is_refused_at_once(world: Any, scripted: Any) -> None:
    message = await world.posted()
    asked = await world.alice.context_menu(world.lab, "Continue this track", message)
    refused = await world.alice.submit_modal(asked, {"seconds": "8", "from": "2:00", "prompt_seconds": "4", "prompt": ""})
    assert refused.ephemeral and "can't go on from 2:00" in world.said(refused)


async def test_the_menu_of_a_message_asks_how_and_continues_its_first_audio(world: Any, scripted: Any, done: Callable[..., Any]) -> None:
    scripted.events = [done()]
    message = await world.bob.send(world.lab, "mine", attachments=[("cover.png", b"p"), ("one.mp3", b"one")])
    asked = await world.alice.context_menu(world.lab, "Continue this track", message)
    await world.alice.submit_modal(asked, {"seconds": "12,5", "from": "0:03", "prompt_seconds": "", "prompt": ""})
    await world.until(lambda: world.last().attachments, "posted")
    (order,) = scripted.requests
    assert (order.seconds, order.from_s, order.prompt_seconds) == (12.5, 3.0, 4.0)
    assert list(scripted.tracks.values()) == [b"one"]


async def test_typing_nonsense_into_the_modal_is_answered_in_words(world: Any, scripted: Any) -> None:
    message = await world.posted()
    for fields, words in (
        ({"seconds": "many"}, "`New music` must be a number"),
        ({"seconds": "8", "from": "the drop"}, "`from` must be a time in the track"),
        ({"seconds": "0"}, "Seconds must be from 1 to 240"),
        ({"seconds": "8", "prompt_seconds": "90"}, "Prompt seconds must be from 0.5 to 20"),
    ):
        asked = await world.alice.context_menu(world.lab, "Continue this track", message)
        refused = await world.alice.submit_modal(asked, {"from": "", "prompt_seconds": "", "prompt": "", **fields})
        assert refused.ephemeral and words in world.said(refused)


async def test_audio_that_is_no_longer_stored_is_said_so(world: Any, scripted: Any) -> None:
    message = await world.posted()
    take = await world.take_of(message)
    world.store.blobs.path(take.clip.sha256).unlink()
    asked = await world.alice.context_menu(world.lab, "Continue this track", message)
    await world.alice.submit_modal(asked, {"seconds": "8", "from": "", "prompt_seconds": "", "prompt": ""})
    await world.until(world.queue_is_empty, "ended")
    assert "no longer stored here. Upload the track again." in world.text(world.last())


async def test_bad_audio_says_what_the_engine_says(world: Any, engine_url: str) -> None:
    await world.alice.slash(world.lab, "continue", track=("set.mp3", b"[playlist]\nFile1=http://127.0.0.1/x.mp3\n"), seconds=1.0)
    await world.until(world.queue_is_empty, "ended")
    text = world.text(world.last())
    assert "⚠️" in text and "Something went wrong" not in text
    assert (await world.take_of(world.last())).state == "failed"
