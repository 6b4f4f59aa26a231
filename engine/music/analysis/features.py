"""What the other modules listen to, from one pass over the samples: power in bands 200 times a second, and pitch five times a second.

    samples ─▶ mono ─▶ short windows (23 ms, every 5 ms) ─▶ power in 24 bands        tempo.py, bars.py, sections.py
                   └─▶ long windows (0.7 s, every 0.2 s) ─▶ power at fifths of a semitone   tonality.py, fingerprint.py

The samples are taken a few seconds at a time: beside the track itself, memory is some 30 kB a second.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.sparse
from numpy.typing import NDArray

from engine.music.audio import Audio

BAND_EDGES_HZ = np.geomspace(30.0, 16000.0, 25)
"""24 bands of 0.38 octaves."""
BANDS = len(BAND_EDGES_HZ) - 1

LOWEST_PITCH, OCTAVES, PER_SEMITONE = 24.0, 8, 5
"""Five rows a semitone, its middle one in tune; the first five are MIDI note 24, a C (33 Hz)."""
PITCH_STEP_S = 0.2

_HOP_S, _WINDOW_S, _LONG_WINDOW_S = 0.005, 0.023, 0.7
_PIECE = 512  # short windows at a time
_LONG_PIECE = 32


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """bands: float32 [F, 24] power, window i centred at ``i / frame_rate``. pitch: float32 [P, 8·12·5] power, every PITCH_STEP_S."""

    bands: NDArray[np.float32]
    frame_rate: float
    pitch: NDArray[np.float32]
    duration_s: float


def extract(audio: Audio) -> Features:
    """Both views of ``audio``, whatever its rate."""
    rate = audio.sample_rate
    hop = max(1, round(_HOP_S * rate))
    window = 1 << round(np.log2(_WINDOW_S * rate))
    long_hop, long_window = max(1, round(PITCH_STEP_S * rate)), round(_LONG_WINDOW_S * rate)
    size = scipy.fft.next_fast_len(long_window, real=True)
    with ThreadPoolExecutor(1, "engine-pitch") as beside:  # numpy leaves the interpreter to the other while it computes

        def hear_pitch() -> list[NDArray[np.float32]]:
            weights = _pitch_weights(rate, size)
            return [_power(frames, size)[:, : weights.shape[0]] @ weights for frames in _windows(audio, long_hop, long_window, _LONG_PIECE)]

        hearing = beside.submit(hear_pitch)
        bands = [_power(frames, window) @ _band_weights(rate, window) for frames in _windows(audio, hop, window, _PIECE)]
        pitch = hearing.result()
    return Features(
        bands=np.concatenate(bands) if bands else np.zeros((0, BANDS), dtype=np.float32),
        frame_rate=rate / hop,
        pitch=np.concatenate(pitch) if pitch else np.zeros((0, OCTAVES * 12 * PER_SEMITONE), dtype=np.float32),
        duration_s=audio.duration_s,
    )


def _windows(audio: Audio, hop: int, window: int, at_once: int) -> Iterator[NDArray[np.float32]]:
    """[n, window] Hann-weighted mono windows centred at 0, hop, 2·hop …; what is outside the track is silence."""
    total = audio.length_samples
    hann = np.hanning(window + 1)[:window].astype(np.float32)
    frames = -(-total // hop)
    for first in range(0, frames, at_once):
        count = min(at_once, frames - first)
        begin = first * hop - window // 2
        end = begin + (count - 1) * hop + window
        part = audio.samples[:, max(0, begin) : max(0, min(total, end))].mean(axis=0, dtype=np.float32)
        part = np.pad(part, (max(0, -begin), max(0, end - max(0, begin) - len(part) - max(0, -begin)) + max(0, -begin)))[: end - begin]
        yield np.lib.stride_tricks.sliding_window_view(part, window)[::hop][:count] * hann


def _power(frames: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """[n, size // 2 + 1] power; a full-scale sine reads about 0.25 whatever the window."""
    spectrum = scipy.fft.rfft(frames, n=size, axis=1)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return np.asarray(power * np.float32((2.0 / frames.shape[1]) ** 2), dtype=np.float32)


@functools.lru_cache(maxsize=4)
def _band_weights(rate: int, window: int) -> NDArray[np.float32]:
    """[bins, 24]: overlapping triangles in log frequency, at least one bin each; zero above half the rate."""
    hertz = np.fft.rfftfreq(window, 1.0 / rate)
    spot = np.log(np.maximum(hertz, 1.0))[:, None]
    edges = np.log(BAND_EDGES_HZ)
    centres = (edges[:-1] + edges[1:]) / 2
    width = edges[1] - edges[0]
    weights = np.maximum(0.0, 1.0 - np.abs(spot - centres[None, :]) / width)
    for band, centre in enumerate(np.exp(centres)):  # low bands are narrower than a bin: share the nearest two
        if weights[:, band].sum() < 1.0 and centre < rate / 2:
            place = centre / hertz[1]
            low = min(int(place), len(hertz) - 2)
            weights[:, band] = 0.0
            weights[low, band], weights[low + 1, band] = 1.0 - (place - low), place - low
    return np.asarray(weights, dtype=np.float32)


@functools.lru_cache(maxsize=4)
def _pitch_weights(rate: int, size: int) -> scipy.sparse.csr_array:
    """[bins, rows]: each bin's power goes to the row of its pitch. Bins below the first row and above the last are dropped.

    Sparse: two of 480 rows are all that a bin reaches, and a dense product was half of what ``extract`` took.
    """
    rows = OCTAVES * 12 * PER_SEMITONE
    hertz = np.fft.rfftfreq(size, 1.0 / rate)
    place = (69.0 + 12.0 * np.log2(np.maximum(hertz, 1e-3) / 440.0) - LOWEST_PITCH) * PER_SEMITONE + PER_SEMITONE // 2
    bins = int(np.searchsorted(place, rows - 1))
    weights = np.zeros((bins, rows), dtype=np.float32)
    for number in range(bins):
        low = int(np.floor(place[number]))
        if 0 <= low < rows - 1:
            share = place[number] - low
            weights[number, low], weights[number, low + 1] = 1.0 - share, share
    return scipy.sparse.csr_array(weights)
