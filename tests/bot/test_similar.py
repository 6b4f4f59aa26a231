"""``/similar`` and "Similar tracks": what the crate has beside a clip, a track, an upload."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from engine.api import Match, Similar, Working


@pytest.fixture
async def crate(world: Any) -> list[Any]:
    """Two tracks here, one elsewhere."""
    elsewhere = world.env.create_guild("Elsewhere")
    return [await add(world, guild, name) for guild, name in ((world.guild.id, "Nacht"), (world.guild.id, "Tag"), (elsewhere.id, "Secret"))]


async def add(world: Any, guild_id: int, title: str) -> Any:
    return await world.store.tracks.add(
        guild_id,
        world.alice.id,
        sha256=await world.store.blobs.put(title.encode()),
        filename=f"{title}.mp3",
        title=title,
        artist=None,
        duration_s=61.0,
        sample_rate=44100,
        channels=2,
        codec="mp3",
        size_bytes=len(title),
    )


def a_match(track: Any, **changes: Any) -> Match:
    fields: dict[str, Any] = {
        "sha256": track.sha256,
        "fits": True,
        "bpm": 130.4,
        "tempo_change": 0.019,
        "camelot": "9A",
        "key_fits": True,
        "closeness": 0.9,
        "reason": "128.0 → 130.4 BPM, +1.9 %; 8A → 9A; sounds close",
    }
    return Match(**fields | changes)


async def test_a_clip_is_put_beside_this_servers_tracks_only(world: Any, scripted: Any, crate: list[Any]) -> None:
    message = await world.posted(prompt="acid")
    nacht, tag, secret = crate
    # Whatever an engine answers, another server's track is not shown.
    answer = Similar(bpm=128.0, camelot="8A", matches=[a_match(tag), a_match(secret)], compared=2)
    scripted.answers["similar"] = [Working(done=1, of=3), answer]
    found = await world.bob.context_menu(world.lab, "Similar tracks", message)
    (embed,) = found.response.embeds
    assert embed.title == "What goes with acid"
    assert embed.description == "128.0 BPM · 8A\n\n1\\. **Tag**\n128.0 → 130.4 BPM, +1.9 %; 8A → 9A; sounds close"
    take = await world.take_of(message)
    asked = scripted.asked[-1]
    assert (asked.track, asked.candidates) == (take.clip.sha256, [nacht.sha256, tag.sha256])
    assert set(scripted.tracks) == {take.clip.sha256, nacht.sha256, tag.sha256}, "nor is the engine told of it"


async def test_a_track_of_the_crate_by_its_name(world: Any, scripted: Any, crate: list[Any]) -> None:
    (choice,) = await world.alice.autocomplete(world.lab, "similar", "track", "nac")
    scripted.answers["similar"] = Similar(bpm=None, camelot=None, matches=[], compared=0, note="How they sound was not compared.")
    found = world.said(await world.alice.slash(world.lab, "similar", track=choice["value"]))
    assert "What goes with Nacht" in found and "no beat · no clear key" in found
    assert "There is nothing else in the crate" in found and "⚠️ How they sound was not compared." in found
    assert scripted.asked[-1].candidates == [crate[1].sha256]
    foreign = await world.alice.slash(world.lab, "similar", track="Secret")
    assert foreign.ephemeral and "No track of the crate is called anything like" in world.said(foreign)


async def test_an_upload_stays_out_of_the_crate(world: Any, scripted: Any, crate: list[Any]) -> None:
    near = a_match(crate[0], fits=False, reason="128.0 → 140.0 BPM, +9.4 %: more than ±6 %; both 8A")
    scripted.answers["similar"] = Similar(bpm=128.0, camelot="8A", matches=[], nearest=[near], compared=2, same=[crate[1].sha256])
    found = world.said(await world.alice.slash(world.lab, "similar", upload=("my_loop.wav", b"loop")))
    assert "What goes with my loop" in found
    assert "Nothing in the crate fits: 2 tracks looked at. What comes nearest:" in found
    assert "+9.4 %: more than ±6 %" in found
    assert "Left out as the same recording: Tag." in found
    assert scripted.tracks[hashlib.sha256(b"loop").hexdigest()] == b"loop"
    assert await world.store.tracks.count(world.guild.id) == 2
    posted = await world.bob.send(world.lab, "mine", attachments=[("two.wav", b"2")])
    assert "What goes with two" in world.said(await world.bob.context_menu(world.lab, "Similar tracks", posted))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "Pick one of the crate's tracks with `track`, or attach one to `upload`."),
        ({"track": "x", "upload": ("a.mp3", b"a")}, "Give either `track` or `upload`, not both"),
        ({"upload": ("a.png", b"a")}, "**a.png** is no audio file"),
    ],
)
async def test_what_it_needs(world: Any, scripted: Any, options: dict[str, Any], words: str) -> None:
    refused = await world.alice.slash(world.lab, "similar", **options)
    assert refused.ephemeral and words in world.said(refused)


async def test_with_the_engine_down(world: Any, crate: list[Any]) -> None:
    assert "The engine isn't answering" in world.said(await world.alice.slash(world.lab, "similar", track="Nacht"))
