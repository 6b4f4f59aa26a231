"""``python -m bot.rehearsal.check``: the demo's whole story without a browser, told as it happens.

Three members act through the page's WebSocket on the real stage, engine and bot, with real audio files. The first thing that is not
as it should be ends the check with a non-zero code. Not here: the unusual ways things go wrong (``tests/end_to_end``).
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import io
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bot.rehearsal import tunes
from bot.rehearsal.children import ChildError
from bot.rehearsal.demo import Demo, DemoOptions
from bot.rehearsal.visitor import File, Json, RefusedError, Used, Visitor, audio_of, files_of, picture_of, reactions_of, text_of

TAKE_WITHIN_S = 300.0
SCALE = dict.fromkeys(("1️⃣", "2️⃣", "3️⃣", "4️⃣", "5️⃣"), 1)


class NotSoError(Exception):
    """Something is not as the story says."""


class Story:
    """Prints who does what and what the bot answers, and holds it against what should be."""

    def __init__(self, url: str, began: float) -> None:
        self.url = url
        self.began = began

    def tell(self, who: str, what: str) -> None:
        lines = what.strip().splitlines() or [""]
        print(f"{time.monotonic() - self.began:6.1f} s  {who:<9} {lines[0]}", flush=True)
        for line in lines[1:]:
            print(f"{'':20}{line}", flush=True)

    def must(self, so: bool, what: str) -> None:
        if not so:
            raise NotSoError(what)
        self.tell("", f"✓ {what}")

    async def uses(self, visitor: Visitor, command: str, **options: Any) -> Used:
        shown = ", ".join(f"{name}: {value.name if isinstance(value, File) else value}" for name, value in options.items())
        self.tell(visitor.member, f"/{command} {shown}")
        return await visitor.slash(command, **options)

    async def answered(self, visitor: Visitor, used: Used) -> Json:
        """The bot's answer in words or pictures, told."""
        await visitor.finished(used)
        message = await visitor.until(lambda: used.message, "an answer")
        self.tell("bot", text_of(message))
        return message

    async def clip(self, visitor: Visitor, used: Used, seconds: float) -> Json:
        """A clip as it should be: told, played, looked at."""
        message = await visitor.clip(used, wait_s=TAKE_WITHIN_S)
        self.tell("bot", text_of(message))
        audio, picture = audio_of(message), picture_of(message)
        assert audio is not None
        heard = hear(await visitor.download(audio["url"]))
        self.must(abs(heard["seconds"] - seconds) < 0.3, f"{audio['filename']} plays for {heard['seconds']:.1f} s")
        self.must(heard["rms"] > 0.01 and heard["peak"] <= 1.0, f"it sounds: RMS {heard['rms']:.2f}, peak {heard['peak']:.2f}")
        self.must("AI-generated" in heard["tags"], "its tags say that it is AI-generated")
        if picture is None:
            raise NotSoError("the clip has a picture")
        drawn = await visitor.download(picture["url"])
        self.must(drawn.startswith(b"\x89PNG") and len(drawn) > 5_000, f"its picture has {len(drawn) // 1024} KiB")
        self.must(reactions_of(message) == SCALE, "1️⃣ to 5️⃣ stand under it")
        return message

    async def cards(self, visitor: Visitor, used: Used, number: int) -> Json:
        """Tracks that were added: each with a card, once the engine has listened to them."""

        def listened() -> Json | None:
            return used.message if used.message and len(used.message["embeds"]) >= number else None

        message = await visitor.until(listened, f"{number} cards", wait_s=TAKE_WITHIN_S)
        self.tell("bot", text_of(message))
        pictures = [file for file in files_of(message) if file["filename"].endswith(".png")]
        drawn = {file["url"]: await visitor.download(file["url"]) for file in pictures}
        whole = all(picture.startswith(b"\x89PNG") and len(picture) > 5_000 for picture in drawn.values())
        self.must(len(drawn) >= number and whole, f"{number} cards, each with a picture")
        return message

    async def neighbours(self, visitor: Visitor, used: Used) -> None:
        """What goes with a track, each with its reason."""
        message = await visitor.until(
            lambda: used.message if used.message and used.message["embeds"] else None, "the tracks that fit", wait_s=TAKE_WITHIN_S
        )
        self.tell("bot", text_of(message))
        reasons = re.findall(r"→ [\d.]+ BPM, [+−±][\d.]+ %.*sounds", text_of(message))
        self.must(len(reasons) >= 1, "its neighbours come with reasons: tempo, key and sound")

    async def rates(self, visitor: Visitor, clip: Json, emoji: str, *, on: bool = True) -> None:
        self.tell(visitor.member, f"{'reacts' if on else 'takes back'} {emoji}")
        await visitor.react(clip, emoji, on)

    async def scores(self, visitor: Visitor, clip: Json, expected: list[int]) -> None:
        """The clip's ratings in the exported file; a reaction takes a moment to get there."""
        seed = re.search(r"seed `(\d+)`", text_of(clip))
        found: list[int] = []
        for _ in range(50):
            rows = await self._export(visitor)
            found = sorted(int(row["score"]) for row in rows if seed is not None and row["seed"] == seed[1])
            if found == expected:
                break
            await asyncio.sleep(0.1)
        self.must(found == expected, f"/export has the ratings {expected} for it, and it has {found}")

    async def _export(self, visitor: Visitor) -> list[dict[str, str]]:
        used = await visitor.finished(await visitor.slash("export"))
        message = await visitor.until(lambda: used.message if used.message and used.message["attachments"] else None, "the exported file")
        table = (await visitor.download(message["attachments"][0])).decode("utf-8-sig")
        return list(csv.DictReader(io.StringIO(table)))

    async def results(self, visitor: Visitor) -> dict[str, list[str]]:
        """``/results`` as {category: [clips, ratings, mean, …]}."""
        message = await self.answered(visitor, await self.uses(visitor, "results"))
        self.must(picture_of(message) is not None, "with a chart")
        rows = [line.split() for line in text_of(message).splitlines()]
        return {row[0]: row[1:] for row in rows if len(row) >= 4 and row[0] in ("A", "B", "C", "D", "other") and row[1].isdigit()}


def hear(mp3: bytes) -> dict[str, Any]:
    """What a player makes of the file."""
    import mutagen
    import numpy as np
    import soundfile

    samples, rate = soundfile.read(io.BytesIO(mp3), always_2d=True)
    tags = mutagen.File(io.BytesIO(mp3))
    return {
        "seconds": len(samples) / rate,
        "rms": float(np.sqrt(np.mean(samples**2))),
        "peak": float(np.abs(samples).max()),
        "tags": str(tags.tags),
    }


async def first_evening(story: Story, alice: Visitor, bob: Visitor, mira: Visitor) -> dict[str, Json]:
    """Tracks, clips, ratings. Returns the clips that must be there the next day."""
    await story.answered(alice, await story.uses(alice, "help"))

    form = await story.uses(alice, "crate add")
    files = [
        tunes.mp3("night shift.mp3", 8.0, title="Night shift", artist="Alice", bpm=132, seed=1),
        tunes.wav("warehouse.wav", 8.0, bpm=136, seed=2),
        tunes.flac("low ceiling.flac", 8.0, bpm=128, seed=3),
        File("shopping list.mp3", b"milk, bread, a new needle\n" * 20),
    ]
    story.tell(alice.member, "fills the form with " + ", ".join(file.name for file in files))
    added = await story.cards(alice, await alice.submit(form, files=files), 3)
    said = text_of(added)
    story.must(said.count("is in the crate") == 3 and "⚠️" in said, "three tracks are in the crate, and the text file is refused")
    heard = [float(bpm) for bpm in re.findall(r"\*\*([\d.]+) BPM\*\*", said)]
    story.must(all(abs(a - b) < 0.2 for a, b in zip(heard, (132, 136, 128), strict=True)), f"their tempi are heard: {heard} BPM")

    techno = await story.clip(alice, await story.uses(alice, "generate", prompt="techno", seconds=4, seed=1), 4)
    alices = await story.clip(alice, await story.uses(alice, "generate", prompt="Alice_hash warehouse techno", seconds=4), 4)
    choices = await alice.autocomplete("continue", "crate", crate="night")
    story.must([c["name"].startswith("Alice – Night shift") for c in choices] == [True], f"typing 'night' offers {choices[0]['name']}")
    options = {"crate": choices[0]["value"], "from": "6", "prompt_seconds": 3, "seconds": 4}
    continued = await story.clip(alice, await story.uses(alice, "continue", **options), 7)
    story.must("new from 3 s" in text_of(continued), "the seam is named")
    posted = await bob.send("what would come after this?", tunes.flac("bobs loop.flac", 5.0, bpm=140, seed=4))
    story.tell("bob", text_of(posted))
    story.tell("bob", "right-click → Apps → Continue this track")
    form = await bob.context("Continue this track", posted)
    await story.clip(bob, await bob.submit(form, seconds="2", prompt_seconds="3"), 5)
    await story.neighbours(bob, await story.uses(bob, "similar", track="night"))
    surprise = await story.clip(mira, await story.uses(mira, "surprise", seconds=4), 4)

    for visitor, emoji in ((alice, "5️⃣"), (bob, "3️⃣"), (mira, "4️⃣")):
        await story.rates(visitor, techno, emoji)
    await story.scores(alice, techno, [3, 4, 5])
    await story.rates(bob, techno, "3️⃣", on=False)
    await story.rates(bob, techno, "2️⃣")
    await story.scores(alice, techno, [2, 4, 5])
    await story.rates(alice, techno, "5️⃣", on=False)
    await story.scores(alice, techno, [2, 4])
    await story.rates(bob, alices, "5️⃣")
    await story.scores(alice, alices, [5])
    await story.rates(mira, surprise, "1️⃣")
    await story.scores(alice, surprise, [1])
    story.tell("mod_mira", "presses Delete under the surprise")
    await mira.click(surprise, "Delete")
    await alice.until(lambda: surprise["id"] not in alice.messages, "the clip to go")
    story.must(surprise["id"] not in alice.messages, "the surprise is gone")
    await story.scores(alice, surprise, [])
    return {"techno": techno, "alices": alices, "continued": continued}


async def next_day(story: Story, alice: Visitor, bob: Visitor, clips: dict[str, Json]) -> None:
    """After a restart of all three processes: everything is still there, and goes on."""
    for name, before in clips.items():
        now = alice.messages.get(before["id"])
        story.must(now is not None and text_of(now) == text_of(before), f"the clip {name!r} stands where it stood")
        assert now is not None
        audio = audio_of(now)
        story.must(audio is not None and hear(await alice.download(audio["url"]))["rms"] > 0.01, "and still plays")
    story.must(reactions_of(alice.messages[clips["techno"]["id"]]) == {**SCALE, "2️⃣": 2, "4️⃣": 2}, "with the reactions of before")
    await story.scores(alice, clips["techno"], [2, 4])
    listed = text_of(await story.answered(alice, await story.uses(alice, "crate list")))
    story.must(all(name in listed for name in ("Night shift", "warehouse", "low")), "the crate holds its three tracks")
    story.must(listed.count(" BPM · ") == 3, "and what was heard in them")
    await story.rates(alice, clips["techno"], "3️⃣")
    await story.scores(alice, clips["techno"], [2, 3, 4])
    story.tell("bob", "presses Again under the first clip")
    await story.clip(bob, await bob.click(bob.messages[clips["techno"]["id"]], "Again"), 4)
    results = await story.results(bob)
    story.must(results["D"][:3] == ["2", "3", "3.00"], "D, plain techno by the base model: 2 clips, 3 ratings, mean 3.00")
    story.must(results["B"][:3] == ["1", "1", "5.00"], "B, with her token by the base model: 1 clip, 1 rating, mean 5.00")
    story.must([results[arm][:2] for arm in "AC"] == [["0", "0"]] * 2, "A and C are empty: there is no finetune yet")


@asynccontextmanager
async def visitors(url: str) -> AsyncIterator[tuple[Visitor, Visitor, Visitor]]:
    async with Visitor(url, "alice") as alice, Visitor(url, "bob") as bob, Visitor(url, "mod_mira") as mira:
        yield alice, bob, mira


async def check(options: DemoOptions) -> None:
    """Raises NotSoError, RefusedError, TimeoutError, ChildError at the first thing that is not so."""
    began = time.monotonic()

    def say(words: str) -> None:
        Story("", began).tell("launcher", words)

    async with Demo(options, say) as demo, visitors(demo.url) as (alice, bob, mira):
        story = Story(demo.url, began)
        story.must(alice.bot_online, "engine, stage and bot are up")
        clips = await first_evening(story, alice, bob, mira)
    say("ends the bot, the engine and the page, and starts them again")
    async with Demo(options, say) as demo, visitors(demo.url) as (alice, bob, _):
        story = Story(demo.url, began)
        await next_day(story, alice, bob, clips)
    codes = {child.program.name: child.returncode for child in (demo.bot, demo.engine, demo.stage)}
    story.must(set(codes.values()) == {0}, f"all three ended in good order: {codes}")
    for child in (demo.bot, demo.engine, demo.stage):
        story.must("Traceback" not in child.log.read_text(), f"nothing unexpected stands in the {child.program.name}'s log")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bot.rehearsal.check", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--data", type=Path, help="keep everything in this folder, which must be new or empty (default: a temporary one)")
    given = parser.parse_args()
    checkpoint = os.environ.get("ENGINE_CHECKPOINT") or "pocket"
    with tempfile.TemporaryDirectory(prefix="techno-composer-check-") as temporary:
        data = given.data.absolute() if given.data else Path(temporary)
        if data.exists() and any(data.iterdir()):
            print(f"check: {data} is not empty, and the story begins with an empty one", file=sys.stderr)
            return 2
        try:
            asyncio.run(check(DemoOptions(data, port=0, checkpoint=checkpoint)))
        except (NotSoError, RefusedError, TimeoutError, ConnectionError, ChildError) as error:
            print(f"\nNOT SO: {error}\n", file=sys.stderr)
            for log in sorted(data.glob("logs/*.log")):
                print(f"--- end of {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:]), file=sys.stderr)
            return 1
    print("\nAll of it is so.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
