"""Uploads that can't be used: each gets a sentence that says what to do; none gets a traceback, another file or the network."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.music.audio import AudioError, decode, probe

MakeFile = Callable[..., bytes]

M3U8 = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{url}\n#EXT-X-ENDLIST\n"
PLS = "[playlist]\nNumberOfEntries=1\nFile1={url}\n"
CONCAT = "ffconcat version 1.0\nfile {url}\n"
CONCAT_WITHOUT_HEADER = "file '{url}'\n"
DASH = '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{url}</BaseURL></MPD>'
XSPF = '<?xml version="1.0"?><playlist version="1"><trackList><track><location>{url}</location></track></trackList></playlist>'
PLAIN_M3U = "{url}\nnext.mp3\n"
PLAYLISTS = [M3U8, PLS, CONCAT, CONCAT_WITHOUT_HEADER, DASH, XSPF, PLAIN_M3U]


def refusal(data: bytes, name: str = "set.mp3") -> str:
    """The one sentence that both ``probe`` and ``decode`` give."""
    with pytest.raises(AudioError) as probed:
        probe(data, name=name)
    with pytest.raises(AudioError) as decoded:
        decode(data, name=name)
    assert str(decoded.value) == str(probed.value)
    assert "Traceback" not in str(probed.value)
    assert "/tmp" not in str(probed.value)
    return str(probed.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty (0 bytes). Upload it again."),
        (b"All work and no play\n" * 50, "is text, not audio. Upload the track itself"),
        ("Schöne Grüße an alle Türme\n".encode() * 200, "is text, not audio"),
        (("nothing to hear\n" * 3).encode("utf-16"), "is text, not audio"),
        (b"PK\x03\x04" + bytes(100), "is a ZIP archive. Unpack it"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "is a picture"),
        (b"MThd" + bytes(100), "is a MIDI file"),
        (b"\x00", "can't be played"),
        (bytes(50_000), "can't be played"),
        (np.random.default_rng(1).bytes(100_000), "can't be played"),
        (b"ID3\x03\x00\x00\x00\x00\x00\x10" + np.random.default_rng(2).bytes(50_000), "can't be played"),
        (b"fLaC" + np.random.default_rng(3).bytes(50_000), "can't be played"),
        (bytes(50 * 2**20), "is too big: 50 MiB, and at most 40 MiB"),
    ],
    ids=["empty", "text", "letters", "utf-16", "zip", "png", "midi", "one byte", "zeros", "noise", "ID3 noise", "fLaC noise", "50 MB"],
)
def test_what_is_no_audio_is_named(data: bytes, words: str) -> None:
    message = refusal(data)
    assert message.startswith("“set.mp3” ")
    assert words in message


@pytest.mark.parametrize(
    ("form", "ending"),
    [*((form, b"") for form in PLAYLISTS), *((form, b"\x00\xff\x00") for form in (M3U8, CONCAT, DASH))],
    ids=["m3u8", "pls", "ffconcat", "concat", "dash", "xspf", "m3u", "m3u8 disguised", "ffconcat disguised", "dash disguised"],
)
def test_playlists_never_reach_the_network_or_another_file(form: str, ending: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        for url in (f"http://127.0.0.1:{port}/a.mp3", "file:///etc/hostname"):
            message = refusal(form.format(url=url).encode() + ending, name="list.m3u8")
            assert ending or "is a playlist: it names tracks, and holds no sound. Upload the track itself" in message
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_video_without_sound_says_so(make_file: MakeFile) -> None:
    for extension in ("mp4", "mkv"):
        data = make_file(extension, "-f", "lavfi", "-i", "testsrc=size=64x64:duration=1", "-c:v", "libx264")
        assert "is a video without sound. Upload a track" in refusal(data, "clip.mp4")


def test_three_hours_are_too_long(make_file: MakeFile) -> None:
    """A small file all the same: 3 h of silence take 1 MB. Refused by the header, or, where that is silent, after counting packets."""
    data = make_file("flac", "-f", "lavfi", "-i", "anullsrc=sample_rate=4000:channel_layout=mono", "-t", "10800")
    with pytest.raises(AudioError, match=r"is 3 h long, and at most 2 h can be used\. Cut out the part that matters"):
        probe(data)
    open_end = bytearray(data)
    open_end[21] &= 0xF0
    open_end[22:26] = bytes(4)
    with pytest.raises(AudioError, match="is longer than 2 h"):
        probe(bytes(open_end))


@pytest.mark.parametrize("extension", ["mp3", "flac", "mp4"])
def test_a_file_that_breaks_off(extension: str, make_file: MakeFile, sweep_wav: Path) -> None:
    data = make_file(extension, "-i", str(sweep_wav), *(["-movflags", "+faststart"] if extension == "mp4" else []))
    most = probe(data[: int(0.75 * len(data))])
    assert 4.0 < most.duration_s < 5.0
    assert not most.complete
    little = data[: int(0.3 * len(data))]
    with pytest.raises(AudioError, match=r"breaks off: of 6 s only the first [12](\.\d)? s can be played.*upload it again"):
        probe(little)
    assert decode(little, duration_s=1.0).duration_s == pytest.approx(1.0, abs=0.01)


def test_an_mp4_whose_end_is_missing_says_so(make_file: MakeFile, sweep_wav: Path) -> None:
    data = make_file("m4a", "-i", str(sweep_wav))
    assert "is incomplete: its table of contents" in refusal(data[: int(0.9 * len(data))])


def test_a_hole_in_the_middle_is_played_over(make_file: MakeFile, sweep_wav: Path) -> None:
    data = bytearray(make_file("mp3", "-i", str(sweep_wav)))
    data[len(data) // 2 : len(data) // 2 + 5000] = bytes(5000)
    assert probe(bytes(data)).duration_s > 5.0
    assert decode(bytes(data), start_s=1.0, duration_s=1.0).duration_s == pytest.approx(1.0)


def test_a_start_past_the_end_says_where_the_end_is(sweep_wav: Path) -> None:
    with pytest.raises(AudioError, match=r"There is nothing at 1 min 30 s: “a.wav” ends at 6 s. Choose an earlier point."):
        decode(sweep_wav.read_bytes(), start_s=90.0, duration_s=2.0, name="a.wav")
    for start_s, duration_s in ((-1.0, None), (float("nan"), None), (0.0, 0.0), (0.0, -3.0)):
        with pytest.raises(AudioError, match="must begin at 0 s or later"):
            decode(sweep_wav.read_bytes(), start_s=start_s, duration_s=duration_s)


def test_a_file_name_is_shown_without_folders_and_control_characters() -> None:
    with pytest.raises(AudioError, match=r"^“a b.mp3” is empty"):
        probe(b"", name="../../etc/a\n\x1b b.mp3")
    with pytest.raises(AudioError, match=r"^The upload is empty"):
        probe(b"")


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_anywhere_is_either_audio_or_a_sentence(make_file: MakeFile, sweep_wav: Path, draw: st.DataObject) -> None:
    extension, codec = draw.draw(st.sampled_from([("mp3", []), ("flac", []), ("ogg", ["-c:a", "libopus"]), ("m4a", []), ("wav", [])]))
    data = bytearray(make_file(extension, "-t", "1", "-i", str(sweep_wav), *codec))
    for _ in range(draw.draw(st.integers(1, 6))):
        at = draw.draw(st.integers(0, min(len(data) - 1, 4000)))  # headers are where it hurts
        data[at] = draw.draw(st.integers(0, 255))
    try:
        audio = decode(bytes(data), duration_s=0.5)
    except AudioError as error:
        assert str(error).endswith(".")
    else:
        assert np.isfinite(audio.samples).all()
