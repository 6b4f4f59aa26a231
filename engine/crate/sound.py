"""Audio from a DJ's own files, as long as they are: ``load``, ``clipped_spans``. Through the same sandbox as uploads.

Other than ``engine.music.audio.decode``, which takes bytes that a stranger sent: a file by its path, without copying it, of any size (a
WAV of a long track is larger than what may be uploaded), into one array that is never held twice.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.music import words
from engine.music.audio import Audio, AudioError
from engine.music.sandbox import DECODE_OPTIONS, Limits, run
from engine.music.sniff import what_else

MAX_SECONDS = 20 * 60.0
"""Longer files are mixes: other people's tracks on top of each other, without a tempo of their own. It bounds memory, too."""
_RATES = "8000|11025|12000|16000|22050|24000|32000|44100|48000"
_LOUDEST = 8.0  # as for uploads: MP3s of loud masters overshoot 1.0, beyond is damage
_HEADER_BYTES = 24
_FULL_SCALE = 0.999
_CLIPPED_SHARE = 0.005
"""Of a second's samples. Masters that are loud on purpose touch full scale at each kick, a tenth of that; a broken rip stays there."""


def load(path: Path, *, sample_rate: int | None = None, channels: int | None = None) -> Audio:
    """The whole file, as it is (mono or stereo, 8 to 48 kHz), or at a rate and with channels of one's choice.

    Raises AudioError (no audio, broken, too long), OSError, AudioToolsMissing.
    """
    label = words.label(path.name)
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        raise AudioError(f"{label} is empty (0 bytes). Copy it again.")
    other = what_else(head)
    if other is not None:
        raise AudioError(f"{label} is {other}.")
    reader = _Reader()
    layout = {None: "mono|stereo", 1: "mono", 2: "stereo"}[channels]
    rates = str(sample_rate) if sample_rate else _RATES
    # 64 taps: 60 dB down a semitone above the new Nyquist frequency. Down-mixing is scaled, so that it can't clip.
    filters = (
        f"aresample=filter_size=64:cutoff=0.97:rematrix_maxval=1,aformat=sample_fmts=flt:channel_layouts={layout}:sample_rates={rates}"
    )
    arguments = [
        *("-nostdin", "-v", "error", "-threads", "1", *DECODE_OPTIONS),
        *("-i", f"file:{path.absolute()}", "-map", "0:a:0", "-vn", "-sn", "-dn", "-map_metadata", "-1"),
        *("-t", f"{MAX_SECONDS + 1:.0f}", "-af", filters, "-c:a", "pcm_f32be", "-f", "au", "pipe:1"),
    ]
    outcome = run("ffmpeg", arguments, reader, Limits(wall_s=600.0, cpu_s=300, output_bytes=1 << 30))
    if outcome.stopped is not None:
        raise AudioError(f"{label} takes too long to read: it is damaged, or the disk is very slow. Export it anew as MP3, WAV or FLAC.")
    audio = reader.audio()
    if audio is None:
        raise AudioError(
            f"{label} can't be played: it is damaged, or no audio at all. Copy it again, or export it anew as MP3, WAV or FLAC."
        )
    if audio.duration_s > MAX_SECONDS:
        raise AudioError(f"{label} is longer than {words.length(MAX_SECONDS)}: a mix, not a track. Cut it into tracks.")
    return audio


class _Reader:
    """ffmpeg's AU stream in one growing buffer: header, then big-endian float32, interleaved."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def __call__(self, piece: bytes) -> None:
        self._bytes += piece

    def audio(self) -> Audio | None:
        """None where nothing could be decoded. Samples are a view of the buffer, turned and cleaned in place."""
        if len(self._bytes) <= _HEADER_BYTES:
            return None
        assert self._bytes[:4] == b".snd", bytes(self._bytes[:4])
        offset, _size, encoding, rate, channels = (int.from_bytes(self._bytes[i : i + 4], "big") for i in range(4, 24, 4))
        assert encoding == 6, encoding
        count = (len(self._bytes) - offset) // 4 // channels * channels
        if count <= 0:
            return None
        big = np.frombuffer(self._bytes, dtype=">f4", count=count, offset=offset)
        values: NDArray[np.float32] = big.view(np.uint32).byteswap(inplace=True).view(np.float32)
        for start in range(0, count, 1 << 20):
            part = values[start : start + (1 << 20)]
            np.nan_to_num(part, copy=False, nan=0.0)
            np.clip(part, -_LOUDEST, _LOUDEST, out=part)
        return Audio(values.reshape(-1, channels).T, rate)  # [C, N]


def clipped_spans(audio: Audio) -> tuple[tuple[float, float], ...]:
    """(start, end) in whole seconds where at least ``_CLIPPED_SHARE`` of the samples lie in flat runs at full scale."""
    second = audio.sample_rate
    bad: list[int] = []
    for number in range(-(-audio.length_samples // second)):
        full = np.abs(audio.samples[:, number * second : (number + 1) * second]) >= _FULL_SCALE  # [C, ≤ rate]
        if full.shape[1] >= 3 and float((full[:, :-2] & full[:, 1:-1] & full[:, 2:]).mean(axis=1).max()) >= _CLIPPED_SHARE:
            bad.append(number)
    return tuple((float(start), float(end)) for start, end in _runs(bad))


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """[3, 4, 5, 9] to [(3, 6), (9, 10)]."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number:
            runs[-1] = (runs[-1][0], number + 1)
        else:
            runs.append((number, number + 1))
    return runs
