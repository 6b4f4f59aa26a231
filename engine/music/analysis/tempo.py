"""How fast, to a hundredth of a BPM: ``find_pulse``. Where the bars begin is in bars.py.

    bands ─▶ onsets (rising log power, three groups) ─▶ autocorrelation ─▶ which tempo: 1, 2, 4, 8 and 16 beats must all come back
                                                     └▶ Fourier sums over the whole track near it ─▶ the exact period
                                                                                          └▶ phase bar by bar ─▶ steady or not

A pattern of three or six sixteenths (a dotted echo, a broken kick) repeats too, but four and eight of its periods do not: that is what
tells 130 from 173 BPM. Half and double tempo repeat alike; between those, techno's own range decides (100 to 165 BPM, falling off
slowly outside), since a DJ counts half-time at 70 as 140 too. Autocorrelation only looks a few bars ahead, so cuts and breaks do it no
harm; the Fourier sums look at everything at once, so two minutes fix the period to about a hundred-thousandth.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from scipy.signal import zoom_fft

from engine.music.analysis.features import BAND_EDGES_HZ, Features

SLOWEST_BPM, FASTEST_BPM = 60.0, 200.0
_TECHNO_BPM = (100.0, 165.0)

_LAG_FRAMES = 2  # a rise is measured over 10 ms
_GROUPS_HZ = (0.0, 150.0, 2500.0, 1e9)
_BEATS = (1, 2, 4, 8, 16)
_LEAST_S = 4.0  # nothing shorter has a tempo
_LEAST_CLARITY = 0.15  # noise, pads and random hits stay below 0.08, the benchmark's tracks above 0.5
_STEADY_S = 0.008  # tracks from a sequencer stay below 4 ms, a drummer who is off by 8 ms a beat is at 16


@dataclass(frozen=True, slots=True, eq=False)
class Pulse:
    """A tempo without bars. clarity: 0 to 1, how well the onsets come back after 1 to 16 beats; loops near 0.8, noise near 0."""

    bpm: float
    steady: bool
    clarity: float


def find_onsets(features: Features) -> NDArray[np.float32]:
    """[F, 3]: how much power rises in low (kick), middle (snare, chords) and high (hats) bands; each group's mean is 1."""
    if not len(features.bands):
        return np.zeros((0, len(_GROUPS_HZ) - 1), dtype=np.float32)
    magnitude = np.sqrt(features.bands)  # [F, 24]
    loud = np.percentile(magnitude, 98, axis=0)
    level = np.log1p(100.0 * magnitude / np.maximum(loud, 1e-2 * max(float(np.max(loud)), 1e-6)))
    rise = np.zeros_like(level)
    rise[_LAG_FRAMES:] = np.maximum(0.0, level[_LAG_FRAMES:] - level[:-_LAG_FRAMES])
    centres = np.sqrt(BAND_EDGES_HZ[:-1] * BAND_EDGES_HZ[1:])
    groups = [rise[:, (centres >= low) & (centres < high)].sum(axis=1) for low, high in itertools.pairwise(_GROUPS_HZ)]
    onsets = np.stack(groups, axis=1)
    return np.asarray(onsets / np.maximum(onsets.mean(axis=0), 1e-9), dtype=np.float32)


def autocorrelation(onsets: NDArray[np.float32], most: int) -> NDArray[np.float64]:
    """[most]: of the onsets around their local mean, all groups together, at each lag; 1 at lag 0."""
    around = onsets - uniform_filter1d(onsets, size=201, axis=0, mode="nearest")
    size = scipy.fft.next_fast_len(len(around) + most, real=True)
    spectrum = scipy.fft.rfft(around, n=size, axis=0)
    lags = scipy.fft.irfft(np.square(np.abs(spectrum)), n=size, axis=0)[:most]  # [most, 3]
    lags /= np.maximum(lags[0], 1e-9)
    return np.asarray(lags.mean(axis=1) * (len(around) / (len(around) - np.arange(most))), dtype=np.float64)


def score_tempi(onsets: NDArray[np.float32], frame_rate: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Tempi from 60 to 200 BPM in steps of a quarter percent, and how well each one's 1, 2, 4, 8 and 16 beats come back."""
    tempi = np.exp(np.arange(np.log(SLOWEST_BPM), np.log(FASTEST_BPM), 0.0025))
    beat = 60.0 * frame_rate / tempi  # frames
    most = min(len(onsets) // 2, int(16.2 * beat.max()))
    lags = autocorrelation(onsets, most)
    places = np.arange(most)
    score, weight = np.zeros_like(tempi), np.zeros_like(tempi)
    for beats in _BEATS:
        # Long lags are sharp: the best one within half a step of the list of tempi, rather than the one in its middle.
        reach = 2 * int(0.00125 * beats * float(np.median(beat))) + 3
        inside = beats * beat < most - 2
        score += np.where(inside, np.interp(beats * beat, places, maximum_filter1d(lags, size=reach)), 0.0)
        weight += inside
    return tempi, score / np.maximum(weight, 1)


def prior(tempi: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 within techno's range, falling to about a third an octave outside."""
    low, high = _TECHNO_BPM
    outside = np.maximum(0.0, np.maximum(np.log2(low / tempi), np.log2(tempi / high)))  # octaves
    return np.asarray(np.exp(-1.2 * outside))


def refine(onsets: NDArray[np.float32], frame_rate: float, bpm: float, within: float = 0.004) -> float:
    """The tempo within ±``within`` of ``bpm`` whose beats, eighths and sixteenths add up best over the whole track."""
    signal = (onsets - onsets.mean(axis=0)).sum(axis=1)
    for width in (within, within / 8, within / 64):
        count = 257
        ratios = np.linspace(1.0 - width, 1.0 + width, count)
        energy = np.zeros(count)
        for harmonic in (1, 2, 4):
            centre = harmonic * bpm / 60.0
            spectrum = zoom_fft(signal, [centre * ratios[0], centre * ratios[-1]], m=count, fs=frame_rate, endpoint=True)
            energy += np.square(np.abs(spectrum))
        best = int(np.argmax(energy))
        bpm *= float(ratios[best])
        if len(signal) / frame_rate * bpm / 60.0 * width * 8 < 1:
            break
    return bpm


def find_pulse(onsets: NDArray[np.float32], frame_rate: float, hint_bpm: float | None = None) -> Pulse | None:
    """The tempo, or None where nothing repeats. ``hint_bpm`` is taken as it is: only whether the track keeps it is found out."""
    if len(onsets) / frame_rate < _LEAST_S or not onsets.any():
        return None
    tempi, score = score_tempi(onsets, frame_rate)
    if hint_bpm is not None:
        clarity = float(np.interp(hint_bpm, tempi, score))
        return Pulse(hint_bpm, wander_s(onsets, frame_rate, hint_bpm) < _STEADY_S, max(0.0, clarity))
    best = int(np.argmax(score * prior(tempi)))
    if score[best] < _LEAST_CLARITY:
        return None
    bpm = refine(onsets, frame_rate, float(tempi[best]))
    return Pulse(bpm, wander_s(onsets, frame_rate, bpm) < _STEADY_S, float(min(1.0, score[best])))


def wander_s(onsets: NDArray[np.float32], frame_rate: float, bpm: float) -> float:
    """How far the sixteenths of each two bars lie from the grid's, root mean square, loud bars counting more; 0 for less than four bars."""
    signal = (onsets - onsets.mean(axis=0))[:, 1:].sum(axis=1)
    hertz = 4.0 * bpm / 60.0
    span = int(8 * 60.0 / bpm * frame_rate)
    count = len(signal) // span
    if count < 2:
        return 0.0
    turned = signal * np.exp(-2j * np.pi * hertz / frame_rate * np.arange(len(signal)))
    parts = turned[: count * span].reshape(count, span).sum(axis=1)
    away = np.angle(parts * np.conj(parts.sum())) / (2.0 * np.pi * hertz)
    return float(np.sqrt(np.average(np.square(away), weights=np.abs(parts) + 1e-12)))
