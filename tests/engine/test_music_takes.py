"""Tempo, key, bars and loops through the front doors: the real client and app, and the command line, with a tiny model and real files."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import pytest
import soundfile

from engine.api import Delivery, Done, GenerateRequest
from engine.cli import main
from engine.client import EngineClient, EngineError

Files = Callable[[str], Path]
Collect = Callable[[EngineClient, GenerateRequest], Any]


def order(take_id: str, **changes: Any) -> GenerateRequest:
    return GenerateRequest.model_validate({"take_id": take_id, "kind": "text", "prompt": "dark techno", "seed": 1} | changes)


def length_of(data: bytes) -> int:
    return len(soundfile.read(io.BytesIO(data))[0])


async def test_a_loop_has_its_samples_says_how_it_was_cut_and_replays(client: EngineClient, collect: Collect) -> None:
    asked = order("loop", bpm=130.0, key="Am", bars=1, loop=True, delivery=Delivery(format="wav"))
    done: Done = (await collect(client, asked))[-1]
    assert done.told == "dark techno, 130 bpm, A minor"
    assert done.prompt == "dark techno"
    assert (done.asked.bpm, done.asked.key, done.seam_s) == (130.0, "A minor", None)
    assert done.loop is not None
    assert done.loop.bpm is not None and done.loop.bars is not None
    expected = round(done.loop.bars * 4 * 60 / done.loop.bpm * done.sample_rate)
    assert length_of(done.clip.bytes()) == length_of(done.delivery.bytes()) == expected
    assert done.loop.bpm == 130 or (done.loop.own_bpm is not None and abs(done.loop.own_bpm / 130 - 1) > 0.04)
    assert float(mutagen.File(io.BytesIO(done.delivery.bytes())).tags["TXXX:BPM"].text[0]) == done.loop.bpm
    again: Done = (await collect(client, asked))[-1]
    assert (again.clip, again.delivery, again.picture) == (done.clip, done.delivery, done.picture)


async def test_a_continuation_keeps_the_tracks_tempo_and_counts_bars_by_it(client: EngineClient, collect: Collect, files: Files) -> None:
    data = files("track.wav").read_bytes()
    track = (await client.put_track(data)).sha256
    assert track == hashlib.sha256(data).hexdigest()
    done: Done = (await collect(client, order("keep", kind="continuation", prompt="acid", track=track, bars=1)))[-1]
    assert done.track.bpm == pytest.approx(120, abs=0.2)
    assert done.told is not None
    assert done.told.startswith("acid, 120 bpm")
    assert done.asked.bpm is None
    assert done.seam_s is not None
    assert done.duration_s - done.seam_s == pytest.approx(240 / done.track.bpm, abs=0.002)  # beside the track's own samples, as they were
    other: Done = (await collect(client, order("other", kind="continuation", prompt="", track=track, seconds=1, bpm=135, key="4A")))[-1]
    assert other.told == "135 bpm, F minor"
    loop: Done = (await collect(client, order("layer", kind="continuation", prompt="", track=track, bars=1, loop=True)))[-1]
    assert loop.seam_s is None  # the new bars alone


async def test_bars_of_a_track_without_a_beat_are_refused_in_words(client: EngineClient, collect: Collect) -> None:
    file = io.BytesIO()
    soundfile.write(file, 0.3 * np.sin(2 * np.pi * 220 * np.arange(8 * 32000) / 32000), 32000, format="WAV")
    track = (await client.put_track(file.getvalue())).sha256
    with pytest.raises(EngineError, match="No steady tempo can be told in the track, so bars have no length"):
        await collect(client, order("tone", kind="continuation", prompt="", track=track, bars=4))
    with pytest.raises(EngineError, match="128 bars at 60 BPM are 512 seconds"):
        await collect(client, order("long", kind="continuation", prompt="", track=track, bars=128).model_copy(update={"bpm": 60.0}))


def test_the_command_line_makes_the_same_loop(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, files: Files
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {"CHECKPOINT": tiny_checkpoint, "DATA": tmp_path / "data", "THREADS": 1, "DEVICE": "cpu"}.items():
        monkeypatch.setenv(f"ENGINE_{name}", str(value))
    words = ["generate", "techno", "--bpm", "130", "--key", "A minor", "--bars", "1", "--loop", "--seed", "1", "--out", "loop.flac"]
    assert main([*words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["told"], facts["asked"]) == ("techno, 130 bpm, A minor", {"bpm": 130.0, "key": "A minor"})
    bars, bpm = facts["loop"]["bars"], facts["loop"]["bpm"]
    assert soundfile.info("loop.flac").frames == round(bars * 240 / bpm * 32000)
    assert main(words) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1].startswith("Asked 130 BPM in 8A, ")
    assert "loops at" in said[1]
    assert hashlib.sha256((tmp_path / "loop.flac").read_bytes()).hexdigest() == facts["sha256"]

    assert main(["continue", str(files("track.mp3")), "--seconds", "1", "--seed", "1", "--out", "next.flac"]) == 0
    assert "Track 120 BPM" in capsys.readouterr().out
    assert main(["generate", "x", "--bars", "4"]) == 2
    assert capsys.readouterr().err == "error: Bars have no length without a tempo: give bpm too.\n"
    assert main(["generate", "x", "--key", "Z"]) == 2
    assert capsys.readouterr().err == "error: 'Z' is no key: write it as Am, A minor or 8A.\n"
