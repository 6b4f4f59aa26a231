"""Files to send: what plays, what the tags say to other programs, what fits, and that the same clip gives the same bytes."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import mutagen
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from mutagen.flac import Picture
from mutagen.id3 import ID3
from mutagen.mp3 import MP3
from PIL import Image

from engine.keys import parse_key
from engine.music.audio import Audio, decode, probe
from engine.music.encode import BIT_RATES, DoesNotFit, Format, Tags, encode, encoder_ahead
from engine.music.mp3 import Mp3Encoder
from engine.music.pictures import cover

FORMATS: list[Format] = ["flac", "wav", "mp3", "ogg"]
TAGS = Tags(
    title="Düster · Alice_hash techno 🎛",
    prompt="dark techno,\nacid line\x00",
    seed=4294967295,
    checkpoint="pocket",
    licence="CC BY-NC 4.0",
    comment="Continues “Raw Kick” from 30 s",
)


def read(data: bytes) -> dict[str, str]:
    """Tags by one set of names, whatever the container's."""
    found = mutagen.File(io.BytesIO(data)).tags
    if isinstance(found, ID3):
        names = {"TIT2": "title", "TPE1": "artist", "TCOP": "license", "TENC": "encoder", "COMM::eng": "comment"}
        names |= {f"TXXX:{name}": name.lower() for name in ("PROMPT", "SEED", "CHECKPOINT", "AI_GENERATED")}
        return {names[key]: str(value) for key, value in found.items() if key in names}
    return {key.lower(): value for key, value in found}


@pytest.fixture(scope="module")
def clip(sweep: Audio) -> Audio:
    return Audio(sweep.samples[:, : 2 * 44100], 44100)


@pytest.mark.parametrize("format", FORMATS)
def test_it_plays_and_says_what_it_is(format: Format, clip: Audio) -> None:
    encoded = encode(clip, format, tags=TAGS)
    assert encoded.extension == format
    assert encoded.media_type == {"flac": "audio/flac", "wav": "audio/wav", "mp3": "audio/mpeg", "ogg": "audio/ogg"}[format]
    facts = probe(encoded.data)
    assert facts.channels == 2
    assert facts.duration_s == pytest.approx(2.0, abs=0.05)
    assert facts.codec == {"flac": "flac", "wav": "pcm_s16le", "mp3": "mp3", "ogg": "opus"}[format]
    assert facts.title == TAGS.title
    assert read(encoded.data) == {
        "title": TAGS.title,
        "artist": "Techno Composer (AI-generated)",
        "comment": "AI-generated with pocket, seed 4294967295, CC BY-NC 4.0 · Continues “Raw Kick” from 30 s",
        "license": "CC BY-NC 4.0",
        "encoder": "Techno Composer",
        "prompt": "dark techno, acid line",
        "seed": "4294967295",
        "checkpoint": "pocket",
        "ai_generated": "true",
    }
    assert encode(clip, format, tags=TAGS).data == encoded.data


@pytest.mark.parametrize("format", FORMATS)
def test_without_tags_it_still_says_ai_generated(format: Format, clip: Audio) -> None:
    found = read(encode(clip, format).data)
    assert found["comment"] == "AI-generated with Techno Composer"
    assert set(found) == {"artist", "comment", "encoder", "ai_generated"}


@pytest.mark.parametrize("format", ["flac", "wav"])
def test_lossless_keeps_16_bits(format: Format, clip: Audio) -> None:
    samples, rate = soundfile.read(io.BytesIO(encode(clip, format, tags=TAGS).data), dtype="int16")
    assert rate == 44100
    np.testing.assert_array_equal(samples, np.rint(clip.samples.T * 32767).astype(np.int16))


def test_what_is_above_full_scale_is_held_there() -> None:
    loud = Audio(np.array([[1.5, -1.5, 0.5] * 4000], dtype=np.float32), 32000)
    samples, _ = soundfile.read(io.BytesIO(encode(loud, "wav").data), dtype="int16")
    assert (samples.max(), samples.min()) == (32767, -32768)


@pytest.mark.parametrize("sample_rate", [8000, 11025, 22050, 32000, 96000])
def test_every_rate_becomes_an_mp3_and_an_opus_that_plays(sample_rate: int) -> None:
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(sample_rate) / sample_rate)
    for format in ("mp3", "ogg"):
        played = decode(encode(Audio(tone.astype(np.float32)[None], sample_rate), format).data)
        assert played.channels == 1
        assert played.duration_s == pytest.approx(1.0, abs=0.12)
        assert played.peak_dbfs == pytest.approx(-10.5, abs=1.0)


def test_the_bit_rate_is_the_best_that_fits(clip: Audio) -> None:
    best = encode(clip, "mp3")
    assert best.kbits == 320
    assert MP3(io.BytesIO(best.data)).info.bitrate == 320_000
    tight = encode(clip, "mp3", max_bytes=56_000, tags=TAGS)
    assert len(tight.data) <= 56_000
    assert tight.kbits == 192
    mono = encode(Audio(clip.samples[:1], 44100), "mp3")
    assert mono.kbits == 192


def test_lossless_that_would_be_too_big_becomes_mp3(clip: Audio) -> None:
    encoded = encode(clip, "wav", max_bytes=60_000, tags=TAGS)
    assert (encoded.extension, encoded.media_type) == ("mp3", "audio/mpeg")
    assert len(encoded.data) <= 60_000
    assert read(encoded.data)["title"] == TAGS.title


def test_what_cannot_fit_says_so(clip: Audio) -> None:
    with pytest.raises(DoesNotFit, match="Ask for a shorter clip"):
        encode(clip, "mp3", max_bytes=10_000)
    with pytest.raises(ValueError, match="no samples"):
        encode(Audio(np.zeros((1, 0), dtype=np.float32), 32000), "mp3")


@settings(max_examples=6, deadline=None)
@given(max_bytes=st.integers(20_000, 120_000), format=st.sampled_from(["mp3", "ogg"]))
def test_no_file_is_larger_than_asked_for(max_bytes: int, format: Format, clip: Audio) -> None:
    try:
        encoded = encode(clip, format, max_bytes=max_bytes, tags=TAGS)
    except DoesNotFit:
        assert max_bytes < 2 * 64_000 / 8 + 8000
    else:
        assert len(encoded.data) <= max_bytes
        assert encoded.kbits in BIT_RATES


# What DJ software reads.


def cover_of(data: bytes) -> bytes | None:
    file = mutagen.File(io.BytesIO(data))
    if isinstance(file.tags, ID3):
        return next((frame.data for frame in file.tags.getall("APIC")), None)
    if "metadata_block_picture" in file.tags:
        return bytes(Picture(base64.b64decode(file.tags["metadata_block_picture"][0])).data)
    return next((picture.data for picture in getattr(file, "pictures", ())), None)


@pytest.mark.parametrize("format", FORMATS)
def test_tempo_key_comment_and_cover_are_where_dj_software_looks(format: Format, clip: Audio, tmp_path: Path) -> None:
    picture = cover(clip)
    tags = replace(TAGS, comment=None, adapter="0123abcd", bpm=130.4, key=parse_key("8A"), cover=picture)
    encoded = encode(clip, format, tags=tags)
    assert encode(clip, format, tags=tags).data == encoded.data
    found = mutagen.File(io.BytesIO(encoded.data)).tags
    comment = "AI-generated with pocket, adapter 0123abcd, seed 4294967295, CC BY-NC 4.0 · 130.4 BPM · 8A"
    if isinstance(found, ID3):
        assert (found["TBPM"].text, found["TKEY"].text, str(found["COMM::eng"])) == (["130"], ["Am"], comment)
        assert found["TXXX:BPM"].text == ["130.4"]
    else:
        assert (found["BPM"], found["INITIALKEY"], found["COMMENT"]) == (["130.4"], ["Am"], [comment])
    assert cover_of(encoded.data) == picture
    assert Image.open(io.BytesIO(picture)).size == (400, 400)

    path = tmp_path / f"clip.{format}"
    path.write_bytes(encoded.data)
    command = ["ffprobe", "-v", "error", "-show_entries", "format_tags:stream_tags:stream=codec_type,codec_name", "-of", "json", str(path)]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    said = {key.upper(): value for source in (*told["streams"], told["format"]) for key, value in source.get("tags", {}).items()}
    assert said["COMMENT"] == comment or format == "ogg"  # in Ogg the cover's own comment comes after it
    assert said.get("TBPM", said.get("BPM")) == ("130" if format in {"mp3", "wav"} else "130.4")
    assert said.get("TKEY", said.get("INITIALKEY")) == "Am"
    assert {stream["codec_name"] for stream in told["streams"] if stream["codec_type"] == "video"} == {"mjpeg"}


def test_a_cover_never_takes_the_room_of_the_sound(clip: Audio) -> None:
    picture = cover(clip)
    roomy = encode(clip, "mp3", max_bytes=2**20, tags=replace(TAGS, cover=picture))
    assert cover_of(roomy.data) == picture
    tight = encode(clip, "mp3", max_bytes=64 * 1024, tags=replace(TAGS, cover=picture))
    assert cover_of(tight.data) is None
    assert tight.kbits == encode(clip, "mp3", max_bytes=64 * 1024, tags=TAGS).kbits
    assert len(tight.data) <= 64 * 1024


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go, shared with no other process."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("max_bytes", [None, 40_000])
def test_an_encoder_that_was_started_ahead_gives_the_same_bytes(max_bytes: int | None, clip: Audio, temporary: Path) -> None:
    with encoder_ahead("mp3", sample_rate=44100, channels=2, duration_s=clip.duration_s, max_bytes=max_bytes) as ahead:
        assert ahead is not None and list(temporary.glob("engine-mp3-*"))
        made = encode(clip, "mp3", max_bytes=max_bytes, tags=TAGS, ahead=ahead)
        assert ahead.used
        again = encode(clip, "mp3", max_bytes=max_bytes, tags=TAGS, ahead=ahead)  # it can't serve twice
    assert made == again == encode(clip, "mp3", max_bytes=max_bytes, tags=TAGS)
    assert not list(temporary.iterdir())


def test_an_encoder_ahead_of_another_clip_is_left_alone_and_leaves_nothing(clip: Audio, temporary: Path) -> None:
    with encoder_ahead("mp3", sample_rate=44100, channels=1, duration_s=1.0, max_bytes=None) as ahead:
        assert ahead is not None
        made = encode(clip, "mp3", ahead=ahead)
        assert not ahead.used
    assert made == encode(clip, "mp3")
    assert not list(temporary.iterdir())


def test_what_ffmpeg_says_is_passed_on(clip: Audio) -> None:
    with Mp3Encoder(44100, 2, 64) as encoder:
        encoder._path.mkdir()  # where the file should be
        with pytest.raises(RuntimeError, match=r"could not write MP3 .*already exists"):
            encoder.encode(np.zeros((10, 2), np.int16))


@pytest.mark.parametrize("format", ["flac", "wav", "ogg"])
def test_nothing_is_started_ahead_for_other_formats(format: Format, temporary: Path) -> None:
    with encoder_ahead(format, sample_rate=44100, channels=2, duration_s=2.0, max_bytes=None) as ahead:
        assert ahead is None
        assert not list(temporary.iterdir())
