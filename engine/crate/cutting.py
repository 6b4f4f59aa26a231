"""One track into its segments, in a process of its own: ``cut``. Decodes the track at most once, and only for what is not there yet.

    track ─▶ decode at the checkpoint's rate ─▶ [start, end) ─▶ gain ─▶ 16-bit file ─▶ codec ─▶ codes
                                                                      each written whole or not at all

Codes are of the file's own 16-bit samples, so that whoever encodes it again gets the same.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.crate import codes
from engine.crate.codes import Target
from engine.crate.disk import digest, sha256_of, write_atomically
from engine.crate.sound import load
from engine.crate.store import CrateTrack
from engine.crate.windows import Crop
from engine.music import words
from engine.music.audio import AudioError

if TYPE_CHECKING:
    from engine.musicgen.codec import Codec

CUT_VERSION = 1
"""Goes into the names of segments: another way of cutting makes other files."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A crop that is wanted, and where its files go."""

    crop: Crop
    gain_db: float
    audio: Path
    codes: Path

    @property
    def missing(self) -> bool:
        return not (self.audio.is_file() and self.codes.is_file())


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that is still missing of one track."""

    track: CrateTrack
    pieces: tuple[Piece, ...]
    target: Target
    device: str


def name_of(track: str, crop: Crop, target: Target, gain_db: float, ending: str) -> str:
    """For a crop's files: the same samples have the same name."""
    decides = [track, crop.start, crop.end, target.sample_rate, target.channels, f"{gain_db:.2f}", ending, CUT_VERSION]
    return f"{track[:12]}-{digest(decides, 12)}"


def cut(job: Job) -> str | None:
    """Writes what is missing. None, or for a person what is wrong with the track."""
    track, target = job.track, job.target
    samples: NDArray[np.float32] | None = None  # [C, N]: the whole track, once it is needed
    try:
        for piece in job.pieces:
            if not piece.audio.is_file():
                if samples is None:
                    require_unchanged(track)
                    samples = load(Path(track.path), sample_rate=target.sample_rate, channels=target.channels).samples
                _write_audio(piece, samples, target.sample_rate)
            if not piece.codes.is_file():
                codes.write_codes(piece.codes, _encode(piece.audio, target, job.device))
    except (AudioError, OSError) as error:
        return str(error) if isinstance(error, AudioError) else f"{words.label(track.title)} can't be read: {error.strerror or error}."
    return None


def require_unchanged(track: CrateTrack) -> None:
    """What was heard is of the file as it was. Raises AudioError."""
    path = Path(track.path)
    if not path.is_file():
        place = words.tidy(str(path), 300)
        raise AudioError(f"{words.label(track.title)} is not at {place} any more: mount the stick or disk, or import it anew.")
    status = path.stat()
    if (status.st_size, status.st_mtime_ns) != (track.size_bytes, track.modified_ns) and sha256_of(path) != track.sha256:
        raise AudioError(f"{words.label(track.title)} has changed since it was imported: import it again.")


def _write_audio(piece: Piece, samples: NDArray[np.float32], sample_rate: int) -> None:
    import soundfile

    part = samples[:, piece.crop.start : piece.crop.end]  # [C, ≤ N]
    part = np.pad(part, ((0, 0), (0, piece.crop.end - piece.crop.start - part.shape[1])))  # a header may promise a few samples more
    whole = np.clip(np.round(part * np.float32(32767 * 10 ** (piece.gain_db / 20))), -32768, 32767).astype(np.int16)  # [C, N]
    kind = piece.audio.suffix[1:].upper()
    write_atomically(piece.audio, lambda path: soundfile.write(path, whole.T, sample_rate, format=kind, subtype="PCM_16"))


def _encode(audio: Path, target: Target, device: str) -> NDArray[np.int16]:
    """int16 [K, T]"""
    import soundfile
    import torch

    values, _rate = soundfile.read(audio, dtype="float32", always_2d=True)  # [N, C]
    found = _codec(target, device).encode(torch.from_numpy(np.ascontiguousarray(values.T)))
    assert int(found.max()) < 2**15, "codes of 16 bits"
    return np.asarray(found.cpu().numpy(), dtype=np.int16)


@functools.lru_cache(maxsize=1)
def _codec(target: Target, device: str) -> Codec:
    """One a process, loaded at the first segment that has no codes."""
    import torch

    torch.set_num_threads(1)  # there is a process for every core
    return codes.load_codec(target, device)
