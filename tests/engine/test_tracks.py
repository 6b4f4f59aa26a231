from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.api import TrackInfo
from engine.errors import EngineError
from engine.tracks import Tracks

Files = Callable[[str], Path]


def put(tracks: Tracks, data: bytes) -> TrackInfo:
    with tracks.upload() as upload:
        upload.write(data)
        return tracks.accept(upload, hashlib.sha256(data).hexdigest())


def test_what_goes_in_comes_out(tmp_path: Path, files: Files) -> None:
    data = files("phone.wav").read_bytes()
    info = put(Tracks(tmp_path, 2**30), data)
    again = Tracks(tmp_path, 2**30)  # after a restart
    assert again.find(info.sha256) == info
    assert again.read(info.sha256) == data
    assert (info.sample_rate, info.channels, info.duration_s) == (8000, 1, pytest.approx(6.0, abs=0.01))


def test_an_upload_that_stops_leaves_nothing(tmp_path: Path) -> None:
    tracks = Tracks(tmp_path, 2**30)
    with pytest.raises(RuntimeError), tracks.upload() as upload:
        upload.write(b"half a tra")
        raise RuntimeError
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_leftovers_of_a_crash_are_swept(tmp_path: Path) -> None:
    Tracks(tmp_path, 2**30)
    (tmp_path / "incoming" / "leftover").write_bytes(b"half a tra")
    Tracks(tmp_path, 2**30)
    assert not list((tmp_path / "incoming").iterdir())


def test_bytes_that_the_disk_spoilt_are_not_used(tmp_path: Path, files: Files) -> None:
    tracks = Tracks(tmp_path, 2**30)
    info = put(tracks, files("phone.wav").read_bytes())
    file = next(tmp_path.rglob("*.audio"))
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    for _ in range(2):
        with pytest.raises(EngineError) as caught:
            tracks.read(info.sha256)
        assert caught.value.code == "unknown_track"
    with pytest.raises(EngineError):
        tracks.find(info.sha256)


def test_the_least_recently_used_leave_when_room_is_short(tmp_path: Path, files: Files) -> None:
    first, second, third = (files(name).read_bytes() for name in ("phone.wav", "short.wav", "track.mp3"))
    tracks = Tracks(tmp_path, room_bytes=len(first) + len(second) + len(third) - 1)
    kept, gone = put(tracks, first), put(tracks, second)
    for age, info in ((100, kept), (200, gone)):
        file = next(tmp_path.rglob(f"{info.sha256}.audio"))
        os.utime(file, (file.stat().st_atime - age, file.stat().st_mtime - age))
    newest = put(tracks, third)
    assert tracks.find(kept.sha256)
    assert tracks.find(newest.sha256)
    with pytest.raises(EngineError):
        tracks.find(gone.sha256)


@pytest.mark.parametrize("name", ["", "..", "../../etc/passwd", "A" * 64, "0" * 65])
def test_only_hashes_name_files(tmp_path: Path, name: str) -> None:
    tracks = Tracks(tmp_path, 2**30)
    for method in (tracks.find, tracks.forget):
        with pytest.raises(EngineError, match="named by the SHA-256"):
            method(name)


def test_what_is_kept_beside_a_track_goes_with_it(tmp_path: Path, files: Files) -> None:
    tracks = Tracks(tmp_path, 2**30)
    info = put(tracks, files("phone.wav").read_bytes())
    assert tracks.beside(info.sha256, "card.png") is None
    assert tracks.put_beside(info.sha256, "card.png", b"picture")
    assert Tracks(tmp_path, 2**30).beside(info.sha256, "card.png") == b"picture"
    tracks.forget(info.sha256)
    assert tracks.beside(info.sha256, "card.png") is None
    assert not tracks.put_beside(info.sha256, "card.png", b"too late")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_what_is_kept_beside_a_track_leaves_with_it_when_room_is_short(tmp_path: Path, files: Files) -> None:
    first, second = files("phone.wav").read_bytes(), files("short.wav").read_bytes()
    tracks = Tracks(tmp_path, room_bytes=len(first) + len(second) - 1)
    gone = put(tracks, first)
    tracks.put_beside(gone.sha256, "analysis.json", b"{}")
    put(tracks, second)
    assert not list(tmp_path.rglob(f"{gone.sha256}*"))
