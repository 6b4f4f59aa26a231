"""Analyses, reports and neighbours through the real client, the real app under uvicorn and real listening processes."""

from __future__ import annotations

import asyncio
import hashlib
import io
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import mutagen.id3
import numpy as np
import pytest
import soundfile

from engine.analyses import desk
from engine.analyses.desk import Analyses
from engine.api import Analysis, AnalysisRequest, CrateTrack, ReportRequest, SimilarRequest, Working
from engine.client import EngineClient, EngineError
from engine.tracks import Tracks

RATE = 32_000


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def having(*tracks: bytes) -> Callable[[str], Awaitable[bytes]]:
    """Whoever asks the engine has these bytes."""
    known = {sha(data): data for data in tracks}

    async def bytes_of(sha256: str) -> bytes:
        return known[sha256]

    return bytes_of


@pytest.fixture(scope="session")
def beat() -> Callable[..., bytes]:
    """A kick, a hat and a bass line for 10 s, as FLAC: another ``seed`` is another tune."""
    made: dict[tuple[float, int, int], bytes] = {}

    def make(bpm: float = 128.0, seed: int = 0, root: int = 45, seconds: float = 10.0) -> bytes:
        if (bpm, seed, root) not in made:
            random = np.random.default_rng(seed)
            t = np.arange(round(seconds * RATE)) / RATE
            beat_s = 60 / bpm
            since = t % beat_s
            minor = np.array([0, 3, 5, 7, 10])
            notes = root + random.choice(minor, 16)
            pitch = 440 * 2 ** ((notes[(t / (beat_s / 4)).astype(int) % 16] - 69) / 12)
            bass = 0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / RATE) * np.exp(-6 * (t % (beat_s / 4)))
            hat = 0.1 * random.standard_normal(t.size) * np.exp(-60 * ((t + beat_s / 2) % beat_s))
            kick = 0.7 * np.sin(2 * np.pi * (50 * since + 6 * (1 - np.exp(-30 * since)))) * np.exp(-12 * since)
            out = io.BytesIO()
            soundfile.write(out, 0.7 * np.tanh(kick + bass + hat), RATE, format="FLAC")
            made[bpm, seed, root] = out.getvalue()
        return made[bpm, seed, root]

    return make


async def heard(client: EngineClient, data: bytes, *among: bytes) -> Analysis:
    request = AnalysisRequest(track=sha(data), among=[sha(other) for other in among])
    return await client.analyse(request, having(data, *among))


async def test_a_card_is_made_once_and_kept(client: EngineClient, shared_engine: Any, beat: Any) -> None:
    data = beat()
    found = await heard(client, data)
    assert found.sha256 == sha(data)
    assert found.tempo is not None and found.tempo.source == "detected"
    assert found.tempo.bpm == pytest.approx(128, abs=0.1)
    assert found.picture.bytes().startswith(b"\x89PNG")
    assert found.duration_s == found.heard_s == pytest.approx(10, abs=0.01)
    record = shared_engine.settings.data / "tracks" / sha(data)[:2] / f"{sha(data)}.analysis.json"
    before = record.stat().st_mtime_ns
    async with aiohttp.ClientSession(shared_engine.url) as http, http.get(f"/v1/analyses/{sha(data)}") as response:
        assert Analysis.model_validate_json(await response.read()) == found
    assert await heard(client, data) == found
    assert record.stat().st_mtime_ns == before


async def test_a_copy_is_named_only_among_the_tracks_that_were_named(client: EngineClient, beat: Any, tmp_path: Path) -> None:
    data, other = beat(), beat(seed=5)
    samples, rate = soundfile.read(io.BytesIO(data))
    copy = io.BytesIO()
    soundfile.write(copy, samples, rate, format="OGG", subtype="VORBIS")
    for track in (data, other):
        await heard(client, track)
    assert [same.sha256 for same in (await heard(client, copy.getvalue(), data, other)).same_as] == [sha(data)]
    assert (await heard(client, copy.getvalue(), other)).same_as == []
    assert (await heard(client, copy.getvalue())).same_as == []
    unheard = beat(seed=99)
    await client.put_track(unheard)
    assert (await heard(client, copy.getvalue(), unheard)).not_compared == 1


async def test_what_the_files_own_tags_say_wins(client: EngineClient, files: Any, tmp_path: Path) -> None:
    path = tmp_path / "tagged.mp3"
    path.write_bytes(files("track.mp3").read_bytes())
    tags = mutagen.id3.ID3(path)
    tags.add(mutagen.id3.TBPM(encoding=3, text="121"))
    tags.add(mutagen.id3.TKEY(encoding=3, text="Bbm"))
    tags.save(path)
    found = await heard(client, path.read_bytes())
    assert found.tempo is not None and (found.tempo.bpm, found.tempo.source) == (121, "tag")
    assert found.key is not None and (found.key.camelot, found.key.source) == ("3A", "tag")


async def test_silence_has_neither_beat_nor_key(client: EngineClient, files: Any) -> None:
    found = await heard(client, files("silent.wav").read_bytes())
    assert (found.tempo, found.key, found.lufs) == (None, None, None)
    assert found.silence_s == pytest.approx(6, abs=0.2)


async def test_what_fits_is_found_and_what_the_engine_lacks_is_sent(client: EngineClient, beat: Any) -> None:
    track, near, fast = beat(), beat(bpm=130.4, seed=3), beat(bpm=150.0, seed=4)
    told: list[Working] = []
    request = SimilarRequest(track=sha(track), candidates=[sha(near), sha(fast), sha(track)])
    found = await client.similar(request, having(track, near, fast), told.append)
    assert found.note is None and found.compared == 2
    compared = {match.sha256: match for match in (*found.matches, *found.nearest)}
    assert compared[sha(near)].reason.startswith("128.0 → 130.4 BPM, +1.9 %; ")
    assert compared[sha(near)].closeness is not None and "sounds" in compared[sha(near)].reason
    assert sha(fast) not in {match.sha256 for match in found.matches}
    assert all(report.done <= report.of == 3 for report in told)


async def test_a_long_answer_says_how_far_it_is(client: EngineClient, beat: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "WORK_ANSWER_S", 0.05)
    data = beat(seed=21)
    told: list[Working] = []
    assert (await client.analyse(AnalysisRequest(track=sha(data)), having(data), told.append)).sha256 == sha(data)
    assert told and {(report.done, report.of) for report in told} == {(0, 1)}


async def test_a_report_on_a_crate(client: EngineClient, beat: Any) -> None:
    tracks = [beat(), beat(bpm=130.4, seed=3)]
    named = [CrateTrack(sha256=sha(data), title=f"Tune {number}", artist="Alice") for number, data in enumerate(tracks)]
    found = await client.report(ReportRequest(tracks=named), having(*tracks))
    assert found.picture.bytes().startswith(b"\x89PNG")
    assert found.tracks == 2 and found.not_heard == []
    assert "2 tracks" in found.text and "128 to 130 BPM" in found.text
    assert any("too few" in line for line in found.advice)


async def test_forgetting_takes_everything_along_even_what_is_being_made(client: EngineClient, shared_engine: Any, beat: Any) -> None:
    folder = shared_engine.settings.data / "tracks"
    data, other = beat(seed=31), beat(seed=32)
    await client.similar(SimilarRequest(track=sha(data), candidates=[sha(other)]), having(data, other))
    kept = {path.name.partition(".")[2] for path in folder.rglob(f"{sha(data)}.*")}
    assert kept == {"audio", "json", "analysis.json", "card.png", "embedding.json"}
    for track in (data, other):
        await client.forget_track(sha(track))
    assert not list(folder.rglob(f"*{sha(data)}*"))

    await client.put_track(data)
    listening = asyncio.create_task(client.analyse(AnalysisRequest(track=sha(data)), having()))
    await asyncio.sleep(0.02)
    await client.forget_track(sha(data))
    with pytest.raises((EngineError, KeyError)):  # KeyError: the client asks for the bytes, and nobody has them any more
        await listening
    assert not list(folder.rglob(f"*{sha(data)}*"))


async def test_after_a_restart_what_was_heard_is_still_there(client: EngineClient, shared_engine: Any, beat: Any) -> None:
    found = await heard(client, beat())
    assert await Analyses(Tracks(shared_engine.settings.data / "tracks", 2**40), 1).find(sha(beat())) == found


async def test_without_musicnn_tempo_and_key_are_compared_and_the_note_says_so(
    client: EngineClient, shared_engine: Any, beat: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    track, near = beat(), beat(bpm=130.4, seed=3)
    for data in (track, near):
        await heard(client, data)
    kept = tmp_path / "tracks"  # apart from the engine's, which embeds whenever nobody waits
    shutil.copytree(shared_engine.settings.data / "tracks", kept, ignore=shutil.ignore_patterns("*.embedding.json", "incoming"))
    (tmp_path / "musicnn").mkdir()
    (tmp_path / "musicnn" / "__init__.py").touch()  # a package of that name, and no weights in it
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    analyses = Analyses(Tracks(kept, 2**40), 1)
    try:
        request = SimilarRequest(track=sha(track), candidates=[sha(near)])
        while isinstance(found := await analyses.similar(request), Working):
            pass
    finally:
        await analyses.stop()
    (match,) = (*found.matches, *found.nearest)
    assert match.closeness is None and "sounds" not in match.reason
    assert found.note is not None and "only tempo and key" in found.note and "pip install --no-deps musicnn" in found.note


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/analyses", {"track": "x"}, 422, "Track can't be 'x'"),
        ("/v1/analyses", {"track": "0" * 64}, 404, "The engine doesn't have the track 000000000000…: upload it first."),
        ("/v1/similar", {"track": "0" * 64, "candidates": ["1" * 64]}, 404, "The engine doesn't have 2 of these tracks: upload first."),
        ("/v1/similar", {"track": "0" * 64, "candidates": [], "limit": 0}, 422, "Limit must be from 1 to 25, not 0."),
        ("/v1/reports", {"tracks": []}, 422, "Tracks"),
        ("/v1/reports", {"tracks": [{"sha256": "0" * 64, "path": "/etc/passwd"}]}, 422, "There is no 'path' to set"),
    ],
)
async def test_requests_that_cannot_be_answered(shared_engine: Any, path: str, body: dict[str, Any], status: int, words: str) -> None:
    async with aiohttp.ClientSession(shared_engine.url) as http, http.post(path, json=body) as response:
        said = await response.json()
        assert (response.status, said["message"][: len(words)]) == (status, words)
        assert said["tracks"] == (["0" * 64, "1" * 64] if "candidates" in body and status == 404 else ["0" * 64] if status == 404 else [])
