"""From a command to a clip that can be played and seen, and from reactions to results, whatever happens to the connection meanwhile."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import mutagen
import numpy as np
import pytest
import soundfile
from PIL import Image

from bot.rehearsal import tunes
from bot.rehearsal.visitor import File, RefusedError, Visitor, audio_of, picture_of, reactions_of, text_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCALE = {"1️⃣": 1, "2️⃣": 1, "3️⃣": 1, "4️⃣": 1, "5️⃣": 1}


async def played(visitor: Visitor, clip: dict[str, Any]) -> tuple[np.ndarray[Any, Any], int]:
    """The clip as a player decodes it: samples [N, C], rate in Hz."""
    audio = audio_of(clip)
    assert audio is not None and audio["content_type"] == "audio/mpeg"
    return soundfile.read(io.BytesIO(await visitor.download(audio["url"])), always_2d=True)


async def test_generate_gives_a_clip_to_play_to_see_and_to_rate(alice: Visitor) -> None:
    used = await alice.slash("generate", prompt="dark warehouse techno", seconds=2, seed=7)
    clip = await alice.clip(used)
    assert used.states == ["sent", "thinking", "answered"]
    samples, rate = await played(alice, clip)
    assert len(samples) / rate == pytest.approx(2.0, abs=0.1)
    assert 0.01 < float(np.abs(samples).max()) <= 1.0
    picture = picture_of(clip)
    assert picture is not None
    width, height = Image.open(io.BytesIO(await alice.download(picture["url"]))).size
    assert width >= 600 and height >= 300
    assert reactions_of(clip) == SCALE
    text = text_of(clip)
    assert "dark warehouse techno" in text and "seed `7`" in text and "AI-generated" in text
    labels = [button["label"] for row in clip["components"] for button in row["components"]]
    assert labels == ["Again", "Continue", "Keep in crate", "Delete"]
    tags = mutagen.File(io.BytesIO(await alice.download(audio_of(clip)["url"])))
    assert "AI-generated" in str(tags.tags) and "dark warehouse techno" in str(tags.tags)
    edits = [p["data"] for p in alice.pushes if p["push"] == "MESSAGE_UPDATE" and p["data"]["id"] == clip["id"]]
    assert any("▰" in text_of(edit) or "▱" in text_of(edit) for edit in edits), "progress was shown"


async def test_several_takes_are_several_messages_and_again_has_a_new_seed(alice: Visitor) -> None:
    before = set(alice.messages)
    used = await alice.slash("generate", prompt="acid", seconds=1, takes=2, seed=40)
    first = await alice.clip(used)

    def both() -> list[dict[str, Any]] | None:
        new = [message for i, message in alice.messages.items() if i not in before and audio_of(message)]
        return new if len(new) == 2 and all(len(message["reactions"]) == 5 for message in new) else None

    clips = await alice.until(both, "two clips")
    assert sorted(text_of(clip).split("seed `")[1][:2] for clip in clips) == ["40", "41"]
    again = await alice.clip(await alice.click(first, "Again"))
    assert "acid" in text_of(again) and "seed `40`" not in text_of(again)


@pytest.mark.parametrize("container", ["mp3", "wav", "flac"])
async def test_continue_goes_on_where_an_attached_track_ends(alice: Visitor, container: str) -> None:
    if container == "mp3":
        track = tunes.mp3("Set one.mp3", 5.0, title="Night shift", artist="Alice", seed=1)
    else:
        track = {"wav": tunes.wav, "flac": tunes.flac}[container](f"set.{container}", 5.0, seed=1)
    clip = await alice.clip(await alice.slash("continue", track=track, seconds=1, prompt_seconds=2, **{"from": "0:04"}))
    samples, rate = await played(alice, clip)
    assert len(samples) / rate == pytest.approx(3.0, abs=0.15)  # two seconds of the track that were listened to, one of new music
    assert "new from 2 s" in text_of(clip)
    # Up to the seam it is the track itself: its shape in time is that of what was uploaded.
    original = tunes.tune(5.0, seed=1).mean(axis=1)[2 * tunes.SAMPLE_RATE : 4 * tunes.SAMPLE_RATE]
    assert correlation(envelope(original, tunes.SAMPLE_RATE, 1.8), envelope(samples.mean(axis=1), rate, 1.8)) > 0.9
    assert reactions_of(clip) == SCALE


def envelope(samples: np.ndarray[Any, Any], rate: int, seconds: float) -> np.ndarray[Any, Any]:
    """RMS per 50 ms [N]."""
    frame = rate // 20
    count = int(seconds * 20)
    return np.sqrt(np.mean(samples[: count * frame].reshape(count, frame) ** 2, axis=1))


def correlation(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """The best over a shift of up to 100 ms: an MP3 encoder adds a little delay."""
    return max(float(np.corrcoef(a[2:-2], np.roll(b, shift)[2:-2])[0, 1]) for shift in (-2, -1, 0, 1, 2))


async def test_surprise_needs_no_words(alice: Visitor) -> None:
    clip = await alice.clip(await alice.slash("surprise", seconds=1))
    samples, _rate = await played(alice, clip)
    assert float(np.abs(samples).max()) > 0.01
    assert "Surprise" in text_of(clip)


async def test_the_crate_and_the_continuation_of_what_is_in_it(alice: Visitor, words: Callable[..., Any]) -> None:
    form = await alice.slash("crate add")
    files = [
        tunes.mp3("crate one.mp3", 8.0, title="Crate one", artist="Alice", seed=2),
        tunes.flac("crate two.flac", 8.0, seed=3),
        File("notes.mp3", b"this is no music at all"),
    ]
    used = await alice.submit(form, files=files)
    await alice.until(lambda: used.message is not None and len(used.message["embeds"]) == 2, "a card for each", wait_s=120)
    answer = await words(alice, used)
    assert answer.count(" BPM**") == 2 and "[card-1.png]" in answer
    assert "Alice – Crate one" in answer and "crate two" in answer and "⚠️" in answer and "notes.mp3" in answer
    listed = await words(alice, await alice.slash("crate list"))
    assert "Crate one" in listed and listed.count(" BPM · ") == 2
    choices = await alice.autocomplete("continue", "crate", crate="one")
    assert choices[0]["name"].startswith("Alice – Crate one")
    clip = await alice.clip(await alice.slash("continue", crate=choices[0]["value"], seconds=1))
    assert "Crate one" in text_of(clip)
    kept = await words(alice, await alice.click(clip, "Keep in crate"))
    assert "is in the crate" in kept


async def test_a_posted_track_is_continued_by_right_click(alice: Visitor, bob: Visitor) -> None:
    posted = await bob.send("listen to this", tunes.flac("loop.flac", 3.0, seed=4))
    await alice.until(lambda: posted["id"] in alice.messages, "bob's track")
    form = await alice.context("Continue this track", posted)
    clip = await alice.clip(await alice.submit(form, seconds="1"))
    assert "loop.flac" in text_of(clip) or "loop" in text_of(clip)
    with pytest.raises(RefusedError, match="no such button"):
        await alice.ask("click", channel_id=posted["channel_id"], message_id=posted["id"], custom_id="take:x:again", nonce="x")


async def test_a_clip_is_continued_by_right_click_too(alice: Visitor, make: Callable[..., Any]) -> None:
    form = await alice.context("Continue this track", await make(alice))
    clip = await alice.clip(await alice.submit(form, seconds="1"))
    samples, rate = await played(alice, clip)
    assert len(samples) / rate == pytest.approx(2.0, abs=0.2)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"track": File("words.mp3", b"hello, I am text" * 50)}, "no audio|not.*audio|can't be read|cannot be read"),
        ({"track": File("empty.wav", b"")}, "empty"),
        ({"track": File("playlist.m3u8", b"#EXTM3U\nhttp://127.0.0.1/secret.mp3\n")}, "."),
        ({"track": tunes.wav("short.wav", 2.0), "from": "9:00"}, "2 s long"),
        ({"track": tunes.wav("short.wav", 2.0), "seconds": 10_000}, "240"),
    ],
)
async def test_what_cannot_be_continued_is_refused_with_words(alice: Visitor, options: dict[str, Any], says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        await alice.clip(await alice.slash("continue", **{"seconds": 1, **options}))


async def test_a_running_take_can_be_cancelled(alice: Visitor, bob: Visitor, words: Callable[..., Any]) -> None:
    used = await alice.slash("generate", prompt="a long one", seconds=120)
    running = await alice.until(lambda: used.message if used.message and "▰" in text_of(used.message) else None, "progress")
    assert "a long one" in await words(alice, await alice.slash("queue"))
    refused = await words(bob, await bob.click(await bob.until(lambda: bob.messages.get(running["id"]), "the take"), "Cancel"))
    assert "Only whoever asked" in refused
    await alice.click(running, "Cancel")
    ended = await alice.until(lambda: used.message if used.message and "Cancelled" in text_of(used.message) else None, "the end")
    assert audio_of(ended) is None


# ---- ratings


async def test_members_rate_change_their_minds_and_take_it_back(
    visit: Callable[[str], Any], make: Callable[..., Any], scores: Callable[..., Any]
) -> None:
    alice, bob, mira = await visit("alice"), await visit("bob"), await visit("mod_mira")
    clip = await make(alice, "Alice_hash techno")
    assert await scores(alice, clip, []) == []
    await alice.react(clip, "5️⃣")
    await bob.react(clip, "3️⃣")
    await mira.react(clip, "4️⃣")
    await mira.react(clip, "🔥")  # liked, but no rating
    assert await scores(alice, clip, [3, 4, 5]) == [3, 4, 5]
    await bob.react(clip, "1️⃣")  # the latest counts
    assert await scores(alice, clip, [1, 4, 5]) == [1, 4, 5]
    await alice.react(clip, "5️⃣", on=False)
    assert await scores(alice, clip, [1, 4]) == [1, 4]


async def test_results_by_category(visit: Callable[[str], Any], make: Callable[..., Any], words: Callable[..., Any], scores: Any) -> None:
    alice, bob = await visit("alice"), await visit("bob")
    clips = [await make(alice, "techno"), await make(alice, "Alice_hash deep techno")]
    for clip in clips:
        await alice.react(clip, "4️⃣")
        await bob.react(clip, "2️⃣")
        assert await scores(alice, clip, [2, 4]) == [2, 4]
    used = await bob.slash("results")
    table = await words(bob, used)
    assert picture_of(used.message or {}) is not None
    rows = {line.split()[0]: line.split() for line in table.splitlines() if line[:1] in "ABCD" and len(line.split()) >= 4}
    assert int(rows["D"][2]) >= 2 and int(rows["B"][2]) >= 2  # the tiny model is a base, no finetune
    assert rows["A"][1:3] == ["0", "0"]


async def test_a_deleted_clip_leaves_the_results(visit: Callable[[str], Any], make: Callable[..., Any], scores: Any) -> None:
    alice, mira = await visit("alice"), await visit("mod_mira")
    clip = await make(alice)
    await mira.react(clip, "5️⃣")
    assert await scores(alice, clip, [5]) == [5]
    await mira.finished(await mira.click(await mira.until(lambda: mira.messages.get(clip["id"]), "the clip"), "Delete"))
    await alice.until(lambda: clip["id"] not in alice.messages, "the clip to go")
    assert await scores(alice, clip, []) == []


async def test_a_resumed_connection_replays_what_was_missed(alice: Visitor, stack: Any, make: Callable[..., Any], scores: Any) -> None:
    clip = await make(alice)
    resumes, identifies = stack.stage.gateway.resumes, stack.stage.gateway.identifies
    await stack.stage.gateway.drop()
    await alice.react(clip, "2️⃣")
    await alice.until(lambda: alice.bot_online, "the bot to come back")
    assert (stack.stage.gateway.resumes, stack.stage.gateway.identifies) == (resumes + 1, identifies)
    assert await scores(alice, clip, [2]) == [2]


async def test_a_lost_session_is_made_up_for_by_looking(alice: Visitor, stack: Any, make: Callable[..., Any], scores: Any) -> None:
    """Op 9: the events of the gap never come. On READY the bot compares what it has with what the messages show."""
    clip, other = await make(alice), await make(alice)
    await alice.react(other, "5️⃣")
    assert await scores(alice, other, [5]) == [5]
    ready, identifies = stack.ready_lines(), stack.stage.gateway.identifies
    await stack.stage.gateway.forget_sessions()
    await alice.react(clip, "1️⃣")
    await alice.react(other, "5️⃣", on=False)
    await stack.bot_settled(ready)
    assert stack.stage.gateway.identifies == identifies + 1
    assert await scores(alice, clip, [1]) == [1]
    assert await scores(alice, other, []) == []


async def test_discord_asks_to_reconnect(alice: Visitor, stack: Any, make: Callable[..., Any], scores: Any) -> None:
    clip = await make(alice)
    resumes = stack.stage.gateway.resumes
    stack.stage.gateway.ask_to_reconnect()
    await alice.react(clip, "3️⃣")
    await alice.until(lambda: stack.stage.gateway.resumes > resumes and alice.bot_online, "the bot to come back")
    assert await scores(alice, clip, [3]) == [3]


async def test_rate_limits_delay_but_lose_nothing(alice: Visitor, stack: Any) -> None:
    rest = stack.stage.rest
    faults = [rest.fail("PATCH", "/messages/", times=2), rest.fail("PUT", "/reactions/", times=2), rest.fail("POST", "/callback", times=1)]
    clip = await alice.clip(await alice.slash("generate", prompt="techno", seconds=1))
    assert [fault.times for fault in faults] == [0, 0, 0]
    assert "techno" in text_of(clip)
