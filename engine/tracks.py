"""Uploaded tracks: bytes by their SHA-256 on disk, and what they turned out to be. A cache: whoever asks for a take has the original.

::

    tracks/ab/abcd….audio    the bytes, as they came
    tracks/ab/abcd….json     TrackInfo; written last, so that a track is there when this is
    tracks/ab/abcd….*        what others keep about it (``put_beside``): forgotten with it
    tracks/incoming/         uploads that are still arriving; emptied at start

Not here: decoding (``engine.music.audio``), HTTP (``server``).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from engine.api import MAX_TRACK_BYTES, TrackInfo
from engine.errors import EngineError

_NAME = re.compile(r"[0-9a-f]{64}")


class Upload:
    """Bytes on their way to disk. Raises EngineError 'too_large' past MAX_TRACK_BYTES."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self._hash = hashlib.sha256()
        self._file = path.open("wb")

    def write(self, piece: bytes) -> None:
        self.size_bytes += len(piece)
        if self.size_bytes > MAX_TRACK_BYTES:
            raise too_large()
        self._hash.update(piece)
        self._file.write(piece)

    def finish(self) -> str:
        """Their SHA-256, once they are safely on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._hash.hexdigest()

    def discard(self) -> None:
        """What was not kept is gone."""
        self._file.close()
        self.path.unlink(missing_ok=True)


class Tracks:
    """The folder. Methods block on the disk (and ``accept`` on ffmpeg): call them from a thread where that matters."""

    def __init__(self, folder: Path, room_bytes: int) -> None:
        """``room_bytes``: past it, the least recently used tracks leave. Raises OSError where the folder can't be made."""
        self._folder = folder
        self._room_bytes = room_bytes
        self._incoming = folder / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._forgetting = threading.Lock()
        for leftover in self._incoming.iterdir():
            leftover.unlink()

    @contextlib.contextmanager
    def upload(self) -> Iterator[Upload]:
        """A place to write to; whatever ``accept`` did not take is gone afterwards."""
        upload = Upload(self._incoming / secrets.token_hex(8))
        try:
            yield upload
        finally:
            upload.discard()

    def accept(self, upload: Upload, sha256: str) -> TrackInfo:
        """Check what arrived, keep it, and say what it is.

        Raises EngineError 'bad_request' where the bytes have another hash, 'bad_audio' where they are no usable audio.
        """
        from engine.music.audio import AudioError, probe

        found = upload.finish()
        if found != sha256:
            raise EngineError("bad_request", f"The upload is damaged or incomplete: the SHA-256 of what arrived is {found}. Send it again.")
        try:
            facts = probe(upload.path.read_bytes())
        except AudioError as error:
            raise EngineError("bad_audio", str(error)) from error
        info = TrackInfo(
            sha256=sha256,
            duration_s=facts.duration_s,
            sample_rate=facts.sample_rate,
            channels=facts.channels,
            codec=facts.codec,
            peak_dbfs=facts.peak_dbfs,
            title=facts.title,
            artist=facts.artist,
        )
        audio = self._path(sha256, "audio")
        audio.parent.mkdir(exist_ok=True)
        upload.path.replace(audio)
        note = self._incoming / secrets.token_hex(8)
        note.write_text(info.model_dump_json(), encoding="utf-8")
        note.replace(self._path(sha256, "json"))
        self._make_room(keep=sha256)
        return info

    def find(self, sha256: str) -> TrackInfo:
        """Raises EngineError 'unknown_track', or 'bad_request' where that is no hash."""
        path = self._path(require_name(sha256), "json")
        try:
            info = TrackInfo.model_validate_json(path.read_bytes())
            os.utime(self._path(sha256, "audio"))  # used just now
        except (FileNotFoundError, ValidationError):
            raise unknown_track(sha256) from None
        return info

    def read(self, sha256: str) -> bytes:
        """The bytes, checked. Raises EngineError 'unknown_track', also where the disk has spoilt them."""
        try:
            data = self._path(sha256, "audio").read_bytes()
        except FileNotFoundError:
            raise unknown_track(sha256) from None
        if hashlib.sha256(data).hexdigest() != sha256:
            self.forget(sha256)
            raise unknown_track(sha256)
        return data

    def forget(self, sha256: str) -> None:
        """The bytes and what was written about them. Raises EngineError 'unknown_track' where there was nothing."""
        with self._forgetting:
            if not any(self._path(require_name(sha256), ending).exists() for ending in ("audio", "json")):
                raise unknown_track(sha256)
            self._path(sha256, "json").unlink(missing_ok=True)
            for path in self._path(sha256, "audio").parent.glob(f"{sha256}.*"):
                path.unlink(missing_ok=True)

    def has(self, sha256: str) -> bool:
        """Whether the track is here, without using it. Raises EngineError 'bad_request' where that is no hash."""
        return self._path(require_name(sha256), "json").exists()

    def audio_path(self, sha256: str) -> Path:
        """Where its bytes lie, for a process that reads them itself and checks their hash."""
        return self._path(require_name(sha256), "audio")

    def beside(self, sha256: str, ending: str) -> bytes | None:
        """What ``put_beside`` kept; None where there is none."""
        try:
            return self.path_beside(sha256, ending).read_bytes()
        except FileNotFoundError:
            return None

    def path_beside(self, sha256: str, ending: str) -> Path:
        return self._path(require_name(sha256), ending)

    def put_beside(self, sha256: str, ending: str, data: bytes) -> bool:
        """Keeps something that was made of a track for as long as the track. False, and nothing kept, when it was forgotten meanwhile."""
        note = self._incoming / secrets.token_hex(8)
        with note.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with self._forgetting:
            if not self.has(sha256):
                note.unlink()
                return False
            note.replace(self.path_beside(sha256, ending))
            return True

    def _path(self, sha256: str, ending: str) -> Path:
        return self._folder / sha256[:2] / f"{sha256}.{ending}"

    def _make_room(self, keep: str) -> None:
        kept = [(path.stat().st_mtime, path.stat().st_size, path.stem) for path in self._folder.glob("??/*.audio")]
        excess = sum(size for _time, size, _sha256 in kept) - self._room_bytes
        for _time, size, sha256 in sorted(kept):
            if excess <= 0:
                return
            if sha256 != keep:
                with contextlib.suppress(EngineError):
                    self.forget(sha256)
                excess -= size


def require_name(sha256: str) -> str:
    """``sha256`` itself; raises EngineError 'bad_request' where it is no hash, and so no file's name."""
    if not _NAME.fullmatch(sha256):
        raise EngineError("bad_request", "A track is named by the SHA-256 of its bytes: 64 lower-case hex digits.")
    return sha256


def too_large() -> EngineError:
    return EngineError(
        "too_large",
        f"The file is too big: at most {MAX_TRACK_BYTES // 2**20} MiB can be used. Export it as MP3, or cut out the part that matters.",
    )


def unknown_track(sha256: str) -> EngineError:
    return EngineError("unknown_track", f"The engine doesn't have the track {sha256[:12]}…: upload it first.", tracks=[sha256])
