"""Uploads that are good: every format, exact cuts, tags, long and odd files; resampling."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.music.audio import Audio, AudioError, decode, probe, require_sound, require_tools, resample

MakeFile = Callable[..., bytes]

FORMATS = {
    "mp3": ("mp3", ["-c:a", "libmp3lame", "-b:a", "192k"]),
    "mp3 vbr": ("mp3", ["-c:a", "libmp3lame", "-q:a", "4"]),
    "mp3 without header": ("mp3", ["-c:a", "libmp3lame", "-q:a", "4", "-write_xing", "0"]),
    "wav": ("wav", []),
    "wav 24 bit": ("wav", ["-c:a", "pcm_s24le"]),
    "flac": ("flac", []),
    "ogg vorbis": ("ogg", ["-c:a", "libvorbis", "-q:a", "6"]),
    "opus": ("opus", ["-c:a", "libopus", "-b:a", "160k"]),
    "m4a": ("m4a", ["-c:a", "aac", "-b:a", "192k", "-aac_pns", "0"]),
    "m4a lossless": ("m4a", ["-c:a", "alac"]),
    "aiff": ("aiff", []),
    "raw aac": ("aac", ["-c:a", "aac", "-b:a", "192k", "-aac_pns", "0"]),
}


def wav_bytes(samples: np.ndarray, sample_rate: int, subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate, format="WAV", subtype=subtype)
    return file.getvalue()


def lag_of(cut: Audio, whole: Audio, start_s: float) -> tuple[int, float]:
    """By how many samples the cut's first sample misses ``start_s`` of ``whole``, and how alike they are there."""
    cut_mono, whole_mono = cut.samples.mean(axis=0), whole.samples.mean(axis=0)
    begin = round(start_s * whole.sample_rate)
    best = (0, -1.0)
    for lag in range(-40, 41):
        piece = whole_mono[begin + lag : begin + lag + len(cut_mono)]
        likeness = float(np.dot(piece, cut_mono) / math.sqrt(float(np.dot(piece, piece) * np.dot(cut_mono, cut_mono))))
        if likeness > best[1]:
            best = (lag, likeness)
    return best


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_and_cut_at_the_sample(kind: str, make_file: MakeFile, sweep_wav: Path) -> None:
    extension, codec = FORMATS[kind]
    data = make_file(extension, "-i", str(sweep_wav), *codec)
    facts = probe(data)
    assert facts.duration_s == pytest.approx(6.0, abs=0.06)  # without a header, an encoder's padding is counted
    assert facts.channels == 2
    assert facts.complete
    assert -6 < facts.peak_dbfs < -1  # lossy ones overshoot
    whole = decode(data)
    assert whole.duration_s == facts.duration_s
    cut = decode(data, start_s=3.3, duration_s=1.5)
    assert cut.length_samples == round(1.5 * cut.sample_rate)
    lag, likeness = lag_of(cut, whole, 3.3)
    assert (lag, likeness) == (0, pytest.approx(1.0, abs=1e-4))


@pytest.mark.parametrize("kind", ["wav", "flac", "aiff", "m4a lossless"])
def test_lossless_files_keep_every_sample(kind: str, make_file: MakeFile, sweep_wav: Path) -> None:
    extension, codec = FORMATS[kind]
    cut = decode(make_file(extension, "-i", str(sweep_wav), *codec), start_s=2.0, duration_s=1.0)
    truth, _ = soundfile.read(sweep_wav, start=2 * 44100, frames=44100, dtype="float32")
    np.testing.assert_array_equal(cut.samples, truth.T)


def test_a_cut_at_the_end_is_as_long_as_what_is_left(sweep_wav: Path) -> None:
    assert decode(sweep_wav.read_bytes(), start_s=5.5, duration_s=10.0).duration_s == pytest.approx(0.5, abs=1e-4)


def test_title_and_artist_are_read_and_tidied(make_file: MakeFile, sweep_wav: Path) -> None:
    for extension, codec in (("mp3", []), ("flac", []), ("ogg", ["-c:a", "libvorbis"])):
        tags = ["-metadata", "title=  Raw\x07  Kick \u200b", "-metadata", "artist=Alice"]
        facts = probe(make_file(extension, "-t", "1", "-i", str(sweep_wav), *codec, *tags))
        assert (facts.title, facts.artist) == ("Raw Kick", "Alice")


def test_a_cover_picture_does_not_make_a_video(make_file: MakeFile, sweep_wav: Path) -> None:
    picture = ["-f", "lavfi", "-i", "testsrc=size=64x64:duration=0.04", "-frames:v", "1", "-map", "0:a", "-map", "1:v", "-c:v", "mjpeg"]
    data = make_file("mp3", "-t", "1", "-i", str(sweep_wav), *picture, "-disposition:v", "attached_pic")
    facts = probe(data)
    assert not facts.is_video
    assert decode(data).duration_s == pytest.approx(1.0, abs=0.05)


def test_the_sound_of_a_video_is_used(make_file: MakeFile, sweep_wav: Path) -> None:
    data = make_file(
        "mp4", "-f", "lavfi", "-i", "testsrc=size=64x64:duration=2", "-t", "2", "-i", str(sweep_wav), "-c:v", "libx264", "-c:a", "aac"
    )
    facts = probe(data)
    assert facts.is_video
    assert facts.codec == "aac"
    assert decode(data, start_s=0.5, duration_s=1.0).duration_s == pytest.approx(1.0, abs=0.01)


def test_8_khz_mono_stays_as_it_is_until_resampled() -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 8000)
    audio = decode(wav_bytes(tone, 8000))
    assert (audio.channels, audio.sample_rate, audio.length_samples) == (1, 8000, 16000)
    assert resample(audio, 32000, 2).samples.shape == (2, 64000)


def test_six_channels_at_96_khz_are_mixed_down_without_clipping(make_file: MakeFile) -> None:
    centre = make_file("flac", "-f", "lavfi", "-i", "sine=sample_rate=96000:duration=2", "-af", "pan=5.1|FC=8*c0", "-sample_fmt", "s32")
    assert (probe(centre).channels, probe(centre).sample_rate) == (6, 96000)
    audio = decode(centre)
    assert (audio.channels, audio.sample_rate) == (2, 96000)
    np.testing.assert_allclose(audio.samples[0], audio.samples[1], atol=1e-6)  # the centre is heard on both sides
    assert audio.peak_dbfs > -20
    full = make_file(
        "flac", "-f", "lavfi", "-i", "sine=sample_rate=96000:duration=1", "-af", "pan=5.1|" + "|".join(f"c{k}=7.9*c0" for k in range(6))
    )
    assert -3 < decode(full).peak_dbfs <= 0.0


@pytest.mark.parametrize("sample_rate", [44101, 300001, 7000])
def test_a_rate_that_nobody_uses_becomes_the_nearest_usual_one(sample_rate: int) -> None:
    """A resampling kernel from 44,101 to 32,000 Hz would take 5 GB."""
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(sample_rate) / sample_rate)
    audio = decode(wav_bytes(tone, sample_rate))
    assert audio.sample_rate == {44101: 44100, 300001: 96000, 7000: 8000}[sample_rate]
    assert audio.duration_s == pytest.approx(1.0, abs=0.01)


def test_what_is_no_number_in_a_float_wav_becomes_silence() -> None:
    samples = np.full(8000, 0.25, dtype=np.float32)
    samples[10], samples[11], samples[12] = np.nan, np.inf, -np.inf
    audio = decode(wav_bytes(samples, 8000, "FLOAT"))
    assert np.isfinite(audio.samples).all()
    assert audio.samples[0, 10] == 0.0
    assert math.isfinite(probe(wav_bytes(samples, 8000, "FLOAT")).peak_dbfs)


def test_a_wav_header_that_promises_gigabytes_is_read_to_its_real_end() -> None:
    data = bytearray(wav_bytes(np.full(16000, 0.1), 8000))
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", 0xFFFFFFF0)
    assert probe(bytes(data)).duration_s == pytest.approx(2.0, abs=0.01)


def test_a_long_track_is_probed_by_excerpts(make_file: MakeFile) -> None:
    """25 minutes with a length that the header leaves open: counted packet by packet, not decoded."""
    data = make_file("flac", "-f", "lavfi", "-i", "sine=frequency=300:sample_rate=8000:duration=1500", "-flags", "bitexact")
    open_end = bytearray(data)
    open_end[21] &= 0xF0  # STREAMINFO's total samples, 36 bits: 0 is unknown
    open_end[22:26] = bytes(4)
    facts = probe(bytes(open_end))
    assert facts.duration_s == pytest.approx(1500.0, abs=1.0)
    assert facts.peak_dbfs == pytest.approx(-18.06, abs=0.1)
    assert decode(bytes(open_end), start_s=1200.0, duration_s=1.0).length_samples == 8000


def test_the_track_of_a_whole_set_is_not_decoded_by_accident(make_file: MakeFile) -> None:
    data = make_file("flac", "-f", "lavfi", "-i", "sine=frequency=300:sample_rate=8000:duration=1500", "-flags", "bitexact")
    with pytest.raises(AudioError, match="longer than 20 s: name the part"):
        decode(data, max_seconds=20.0)
    with pytest.raises(AudioError, match="at most 20 s"):
        decode(data, duration_s=30.0, max_seconds=20.0)


def test_tools_are_here() -> None:
    require_tools()


@settings(max_examples=20, deadline=None)
@given(
    length=st.integers(0, 3000),
    old=st.sampled_from([8000, 22050, 32000, 44100, 48000]),
    new=st.sampled_from([16000, 32000, 44100, 48000]),
    channels=st.sampled_from([(1, 1), (1, 2), (2, 1), (2, 2)]),
)
def test_resampling_keeps_the_duration(length: int, old: int, new: int, channels: tuple[int, int]) -> None:
    rng = np.random.default_rng(length)
    audio = Audio(rng.uniform(-0.5, 0.5, (channels[0], length)).astype(np.float32), old)
    result = resample(audio, new, channels[1])
    assert result.samples.shape == (channels[1], -(-length * new // old))
    assert result.samples.dtype == np.float32
    assert result.sample_rate == new


def test_resampling_keeps_tones_and_drops_what_the_new_rate_cannot_hold() -> None:
    time = np.arange(48000) / 48000
    low, high = np.sin(2 * np.pi * 1000 * time), np.sin(2 * np.pi * 20000 * time)
    audio = resample(Audio((0.4 * low + 0.4 * high).astype(np.float32)[None], 48000), 32000, 1)
    wanted = 0.4 * np.sin(2 * np.pi * 1000 * np.arange(32000) / 32000)
    np.testing.assert_allclose(audio.samples[0, 500:-500], wanted[500:-500], atol=2e-3)


def test_mono_is_copied_and_stereo_averaged() -> None:
    stereo = Audio(np.array([[0.5, 0.1], [-0.1, 0.3]], dtype=np.float32), 32000)
    np.testing.assert_allclose(resample(stereo, 32000, 1).samples, [[0.2, 0.2]], atol=1e-7)
    mono = Audio(np.array([[0.5, 0.1]], dtype=np.float32), 32000)
    np.testing.assert_array_equal(resample(mono, 32000, 2).samples, np.repeat(mono.samples, 2, axis=0))
    with pytest.raises(ValueError, match="6 into 2"):
        resample(Audio(np.zeros((6, 10), dtype=np.float32), 32000), 32000, 2)


def test_silence_is_told_from_sound() -> None:
    silent = wav_bytes(np.zeros(8000), 8000)
    assert probe(silent).peak_dbfs == -120.0
    for found in (probe(silent), decode(silent)):
        with pytest.raises(AudioError, match="silent"):
            require_sound(found)
    require_sound(decode(wav_bytes(np.full(8000, 0.01), 8000)))
