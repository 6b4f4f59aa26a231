"""The crate: tracks in, tracks out, and nobody else's."""

from __future__ import annotations

from typing import Any

import pytest

from bot.commands.crate import find_track
from bot.refusal import Refusal
from engine.api import MAX_TRACK_BYTES


async def test_attachments_go_in_once_and_each_bad_one_says_why(world: Any, engine_url: str, track: bytes) -> None:
    added = await world.alice.slash(
        world.lab, "crate add", track=("Alice - Nacht.flac", track), track2=("notes.mp3", b"not audio at all\n" * 99)
    )
    lines = world.said(added).splitlines()
    assert lines[0] == "📦 **Alice - Nacht** is in the crate: 4 s, 32 kHz, mono, flac."
    assert lines[1].startswith("⚠️ **notes.mp3**: ")
    again = await world.bob.slash(world.lab, "crate add", track=("other name.flac", track))
    assert "is in the crate already" in world.said(again)
    (kept,) = await world.store.tracks.list(world.guild.id)
    assert await world.store.blobs.get(kept.sha256) == track
    assert (kept.member_id, kept.codec) == (world.alice.id, "flac")


async def test_without_attachments_a_modal_takes_up_to_ten(world: Any, scripted: Any) -> None:
    shown = await world.alice.slash(world.lab, "crate add")
    upload = shown.modal["components"][0]["component"]
    assert (upload["min_values"], upload["max_values"]) == (1, 10)
    added = await world.alice.submit_modal(shown, {"files": [("a.mp3", b"a"), ("b.wav", b"b"), ("c.txt", b"c")]})
    assert world.said(added).count("📦") == 2
    assert "**c.txt** is no audio file. Attach MP3, WAV" in world.said(added)


async def test_a_full_crate_says_so(world: Any, scripted: Any) -> None:
    files = {f"track{n or ''}": (f"{n}.mp3", bytes([n or 1])) for n in (0, 2, 3, 4)}
    added = await world.alice.slash(world.lab, "crate add", **files)
    assert world.said(added).count("📦") == 3
    assert "The crate is full: 3 tracks is the most here." in world.said(added)
    same = await world.alice.slash(world.lab, "crate add", track=("0.mp3", bytes([1])))
    assert "is in the crate already" in world.said(same)


async def test_list_pages_and_its_buttons_survive_a_restart(world: Any) -> None:
    for number in range(23):
        await add(world, world.guild.id, f"Track {number:02}")
    listed = await world.alice.slash(world.lab, "crate list")
    assert listed.ephemeral
    assert "Track 22" in world.said(listed) and "page 1 of 3" in world.said(listed)
    await world.restart()
    await world.alice.click(listed.response, label="More")
    assert "Track 12" in world.said(listed) and "page 2 of 3" in world.said(listed)
    await world.alice.click(listed.response, label="More")
    assert "Track 00" in world.said(listed) and "page 3 of 3" in world.said(listed)
    await world.alice.click(listed.response, label="Back")
    assert "page 2 of 3" in world.said(listed)


async def test_an_empty_crate_says_how_to_fill_it(world: Any) -> None:
    listed = await world.alice.slash(world.lab, "crate list")
    assert "`/crate add` puts tracks in" in world.said(listed)


async def test_remove_is_for_who_added_it_and_for_moderators(world: Any) -> None:
    await add(world, world.guild.id, "Nacht")
    (choice,) = await world.bob.autocomplete(world.lab, "crate remove", "track", "nac")
    assert choice["name"] == "Alice – Nacht (1:01)"
    refused = await world.bob.slash(world.lab, "crate remove", track=choice["value"])
    assert "Only whoever added a track, or a moderator, can remove it." in world.said(refused)
    gone = await world.mira.slash(world.lab, "crate remove", track="nacht")
    assert "is out of the crate" in world.said(gone)
    missing = await world.mira.slash(world.lab, "crate remove", track="nacht")
    assert "No track of the crate is called anything like “nacht”" in world.said(missing)


async def test_another_servers_tracks_are_out_of_reach(world: Any) -> None:
    elsewhere = world.env.create_guild("Elsewhere")
    foreign = await add(world, elsewhere.id, "Secret")
    assert await world.alice.autocomplete(world.lab, "continue", "crate", "") == []
    for wanted in (str(foreign.id), "Secret"):
        with pytest.raises(Refusal):
            await find_track(world.store, world.guild.id, wanted)
        refused = await world.alice.slash(world.lab, "continue", crate=wanted)
        assert "No track of the crate" in world.said(refused)


async def test_the_menu_of_a_message_adds_its_audio(world: Any, scripted: Any) -> None:
    message = await world.bob.send(world.lab, "mine", attachments=[("one.mp3", b"1"), ("cover.png", b"p"), ("two.wav", b"2")])
    added = await world.alice.context_menu(world.lab, "Add to crate", message)
    assert world.said(added).count("📦") == 2
    without = await world.bob.send(world.lab, "no audio here")
    refused = await world.alice.context_menu(world.lab, "Add to crate", without)
    assert refused.ephemeral and "There is no audio in that message" in world.said(refused)


async def test_the_menu_of_a_clip_keeps_it_lossless(world: Any) -> None:
    message = await world.posted(prompt="acid")
    added = await world.alice.context_menu(world.lab, "Add to crate", message)
    assert "**acid** is in the crate" in world.said(added)
    take = await world.take_of(message)
    assert (await world.store.tracks.list(world.guild.id))[0].sha256 == take.clip.sha256


async def test_files_that_cannot_be_tracks_are_refused_before_they_are_fetched(world: Any, scripted: Any) -> None:
    large = await world.alice.slash(world.lab, "crate add", track=("set.wav", bytes(MAX_TRACK_BYTES + 1)))
    assert large.ephemeral and "40 MiB is the most. Send it as MP3" in world.said(large)
    empty = await world.alice.slash(world.lab, "crate add", track=("set.wav", b""))
    assert "**set.wav** is empty" in world.said(empty)
    picture = await world.alice.slash(world.lab, "crate add", track=("cover.png", b"png"))
    assert "**cover.png** is no audio file" in world.said(picture)
    assert scripted.tracks == {}


async def test_with_the_engine_down_nothing_is_added(world: Any) -> None:
    refused = await world.alice.slash(world.lab, "crate add", track=("a.mp3", b"a"))
    assert "The engine isn't answering" in world.said(refused)
    assert await world.store.tracks.count(world.guild.id) == 0


async def add(world: Any, guild_id: int, title: str) -> Any:
    return await world.store.tracks.add(
        guild_id,
        world.alice.id,
        sha256=await world.store.blobs.put(title.encode()),
        filename=f"{title}.mp3",
        title=title,
        artist="Alice",
        duration_s=61.0,
        sample_rate=44100,
        channels=2,
        codec="mp3",
        size_bytes=len(title),
    )
