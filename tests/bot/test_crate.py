"""The crate: tracks in, each with its card; tracks out; and nobody else's."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest

from bot.commands.crate import find_track
from bot.refusal import Refusal
from engine.api import MAX_TRACK_BYTES, Payload, Report, ReportRequest, SameRecording, Working
from engine.client import EngineError
from storage import OpenAnswer


async def test_attachments_go_in_once_and_each_bad_one_says_why(world: Any, engine_url: str, track: bytes) -> None:
    added = await world.alice.slash(
        world.lab, "crate add", track=("Alice - Nacht.flac", track), track2=("notes.mp3", b"not audio at all\n" * 99)
    )
    await world.until(lambda: world.last().embeds, "the card")
    lines = world.said(added).splitlines()
    assert lines[0] == "📦 **Alice - Nacht** is in the crate: 4 s, 32 kHz, mono, flac."
    assert lines[1].startswith("⚠️ **notes.mp3**: ")
    (card,) = world.last().embeds
    assert card.title == "Alice - Nacht"
    assert "**120.0 BPM** · " in card.description and " · 4 s · " in card.description
    (picture,) = world.last().attachments
    assert picture.filename == "card-1.png" and (await picture.read()).startswith(b"\x89PNG")
    again = await world.bob.slash(world.lab, "crate add", track=("other name.flac", track))
    await world.until(lambda: world.last().embeds, "the card again")
    assert "is in the crate already" in world.said(again)
    (kept,) = await world.store.tracks.list(world.guild.id)
    assert await world.store.blobs.get(kept.sha256) == track
    assert (kept.member_id, kept.codec) == (world.alice.id, "flac")
    assert kept.heard.bpm == pytest.approx(120, abs=0.1) and kept.heard.bpm_source == "detected"


async def test_each_track_has_its_card_and_the_list_says_what_was_heard(world: Any, scripted: Any) -> None:
    a, b = hash_of(b"a"), hash_of(b"b")
    scripted.heard[a] = {"tempo": {"bpm": 129.96, "downbeat_s": 0.1, "steady": True, "confidence": 1.0, "source": "tag"}}
    scripted.heard[b] = {"tempo": None, "key": None, "clipped_share": 0.02, "same_as": [SameRecording(sha256=a, likeness=0.99)]}
    added = await world.alice.slash(world.lab, "crate add", track=("Nacht.mp3", b"a"), track2=("Nacht 2.mp3", b"b"))
    first, second = added.response.embeds
    assert first.description == "**130.0 BPM** (the file's own tag) · **8A** A minor · 6:12 · −8.1 LUFS"
    assert second.description.splitlines() == [
        "no beat · no clear key · 6:12 · −8.1 LUFS",
        "♻️ The same recording as **Nacht**.",
        "⚠️ 2.0 % of it is clipped: a cleaner copy would teach more.",
    ]
    assert [file.filename for file in added.response.attachments] == ["card-1.png", "card-2.png"]
    assert [asked.among for asked in scripted.asked] == [[b], [a]]
    listed = world.said(await world.bob.slash(world.lab, "crate list"))
    assert "1\\. **Nacht 2** · no beat · no clear key · 10 s" in listed
    assert "2\\. **Nacht** · 130.0 BPM 🏷️ · 8A (A minor) · 10 s" in listed
    assert "🏷️ from the file's own tags" in listed


async def test_ten_cards_with_much_to_say_fit_one_message(world: Any, scripted: Any, settings: Any) -> None:
    world.bot.settings = settings.model_copy(update={"bot_crate_tracks": 20})
    shown = await world.alice.slash(world.lab, "crate add")
    files = [(f"{'*long_name* ' * 9}{number}.mp3", bytes([number])) for number in range(1, 11)]
    for _, data in files:
        same = [SameRecording(sha256=hash_of(other), likeness=1.0) for _, other in files if other != data]
        scripted.heard[hash_of(data)] = {"same_as": same, "clipped_share": 0.5, "silence_s": 300.0, "heard_s": 10.0}
    added = await world.alice.submit_modal(shown, {"files": files})
    embeds = added.response.embeds
    assert len(embeds) == len(added.response.attachments) == 10
    assert sum(len(embed) for embed in embeds) <= 6000 and len(added.response.content) <= 2000


async def test_a_twin_in_another_server_is_not_named(world: Any, scripted: Any) -> None:
    elsewhere = world.env.create_guild("Elsewhere")
    foreign = await add(world, elsewhere.id, "Secret")
    scripted.heard[hash_of(b"a")] = {"same_as": [SameRecording(sha256=foreign.sha256, likeness=1.0)]}
    added = await world.alice.slash(world.lab, "crate add", track=("a.mp3", b"a"))
    assert scripted.asked[-1].among == [], "the engine is not even told of it"
    assert "same recording" not in world.said(added)


async def test_a_track_that_cannot_be_listened_to_stays_and_says_why(world: Any, scripted: Any) -> None:
    scripted.heard[hash_of(b"a")] = EngineError("bad_audio", "It took too long to listen to the track: it may be damaged.")
    added = await world.alice.slash(world.lab, "crate add", track=("a.mp3", b"a"), track2=("b.mp3", b"b"))
    assert "📦 **a** is in the crate" in world.said(added)
    assert "⚠️ It could not be listened to: It took too long to listen to the track" in world.said(added)
    assert [embed.title for embed in added.response.embeds] == ["b"]


async def test_progress_is_shown_and_the_cards_come_even_after_the_interactions_end(world: Any, scripted: Any) -> None:
    world.bot.engine.listens = True
    scripted.gate = asyncio.Event()
    await world.alice.slash(world.lab, "crate add", track=("a.mp3", b"a"), track2=("b.mp3", b"b"))
    await world.until(lambda: scripted.asked, "asked")
    await world.env.advance_time(17 * 60)
    scripted.gate.set()
    await world.until(lambda: len(world.last().embeds) == 2, "the cards")
    assert len(world.messages()) == 1
    assert [file.filename for file in world.last().attachments] == ["card-1.png", "card-2.png"]


async def test_what_was_not_listened_to_is_after_a_restart(world: Any, scripted: Any) -> None:
    """A bot that was killed in the middle has the track and not what was heard in it; the engine may have lost the bytes."""
    track = await add(world, world.guild.id, "Nacht")
    assert "Not all of these have been listened to yet." in world.said(await world.alice.slash(world.lab, "crate list"))
    await world.restart()

    async def heard() -> bool:
        found = await world.store.tracks.get(world.guild.id, track.id)
        return found.heard is not None

    await world.until(heard, "listened to")
    assert scripted.tracks == {track.sha256: b"Nacht"}
    scripted.asked.clear()
    await world.restart()
    await world.until(world.bot.listening._catching_up.done, "caught up")
    assert not scripted.asked, "once is enough"
    scripted.analysis_version = 2
    await world.restart()
    await world.until(lambda: [asked.track for asked in scripted.asked] == [track.sha256], "an engine that hears better listens again")


async def test_an_answer_that_a_killed_bot_left_says_so(world: Any, scripted: Any) -> None:
    backend = world.env.backend
    for number, text in enumerate(("Listening to 1 of 2", "gone by then")):
        message = backend.create_message(world.lab.id, backend.bot_user.id, text)
        await world.store.answers.began(OpenAnswer(number, world.lab.id, message.id))
    await world.last().delete()
    await world.restart()
    await world.until(lambda: "The bot was restarted in the middle of this." in world.text(world.last()), "told")
    assert len(world.messages()) == 1
    assert await world.store.answers.left() == []


async def test_an_answer_that_ended_leaves_nothing_to_say(world: Any, scripted: Any) -> None:
    await world.alice.slash(world.lab, "crate add", track=("a.mp3", b"a"))
    await world.alice.slash(world.lab, "crate report")
    assert await world.store.answers.left() == []


async def test_the_engine_forgets_what_the_last_crate_lets_go(world: Any, scripted: Any) -> None:
    await world.alice.slash(world.lab, "crate add", track=("a.mp3", b"a"))
    elsewhere = world.env.create_guild("Elsewhere")
    same = await add(world, elsewhere.id, "a")
    await world.alice.slash(world.lab, "crate remove", track="a")
    assert scripted.forgotten == [], "another server still has it"
    await world.store.tracks.remove(elsewhere.id, same.id)
    await world.restart()
    await world.until(lambda: scripted.forgotten, "forgotten")
    assert scripted.forgotten == [hash_of(b"a")] and scripted.tracks == {}
    assert await world.store.database.all("SELECT * FROM analyses") == []


async def test_the_report_is_a_picture_and_advice_about_this_servers_tracks(world: Any, scripted: Any, report: Any) -> None:
    empty = await world.alice.slash(world.lab, "crate report")
    assert empty.ephemeral and "The crate is empty" in world.said(empty)
    track = await add(world, world.guild.id, "Nacht")
    await add(world, world.env.create_guild("Elsewhere").id, "Secret")
    scripted.answers["report"] = [Working(done=0, of=1), report(["Add tracks: 10 are the least worth training on."])]
    posted = await world.bob.slash(world.lab, "crate report")
    said = world.said(posted)
    assert "One track, 0.1 hours." in said and "• Add tracks: 10 are the least worth training on." in said
    assert [file.filename for file in posted.response.attachments] == ["report.png"]
    asked = [one for one in scripted.asked if isinstance(one, ReportRequest)]
    assert [(one.sha256, one.artist, one.title) for one in asked[-1].tracks] == [(track.sha256, "Alice", "Nacht")]
    assert scripted.tracks[track.sha256] == b"Nacht", "what the engine lacked was sent"


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


def hash_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def report() -> Any:
    def make(advice: list[str]) -> Report:
        return Report(text="One track, 0.1 hours.", advice=advice, picture=Payload.of(b"\x89PNG", "image/png", "png"), tracks=1)

    return make
