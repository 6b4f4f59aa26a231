"""``analyse``: audio in, TrackAnalysis out. Each part is found in the module of its name; what the DJ's software says wins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.api import ANALYSIS_VERSION
from engine.music.analysis.bars import find_bars
from engine.music.analysis.facts import Grid, Hints, TrackAnalysis, first_downbeat
from engine.music.analysis.features import Features, extract
from engine.music.analysis.fingerprint import take_fingerprint
from engine.music.analysis.keys import Key
from engine.music.analysis.levels import ENERGY_S, measure_levels
from engine.music.analysis.sections import find_sections
from engine.music.analysis.tempo import find_onsets, find_pulse
from engine.music.analysis.tonality import find_key
from engine.music.audio import Audio

_NO_HINTS = Hints()


def analyse(audio: Audio, hints: Hints = _NO_HINTS) -> TrackAnalysis:
    """Everything about one recording, at any rate, mono or stereo; silence and fragments give an analysis that says so.

    What ``hints`` holds is taken as it is, with its own ``source``; what it leaves open is listened for.
    """
    levels = measure_levels(audio)
    features = extract(audio)
    onsets = find_onsets(features)
    grid = hints.grid or find_grid(features, onsets, hints.bpm, hints.source)
    return TrackAnalysis(
        version=ANALYSIS_VERSION,
        duration_s=audio.duration_s,
        grid=grid,
        key=hints.key or find_key(features),
        lufs=levels.lufs,
        peak_dbfs=levels.peak_dbfs,
        clipped_share=levels.clipped_share,
        silences=levels.silences,
        energy_s=ENERGY_S,
        energy=levels.energy,
        sections=find_sections(features, onsets, grid, levels.energy, ENERGY_S),
        fingerprint=take_fingerprint(features),
    )


def find_grid_and_key(audio: Audio) -> tuple[Grid | None, Key | None]:
    """Of ``analyse`` only these two, for who waits for them: no levels, sections or fingerprint."""
    features = extract(audio)
    return find_grid(features, find_onsets(features)), find_key(features)


def find_grid(features: Features, onsets: NDArray[np.float32], hint_bpm: float | None = None, source: str = "hint") -> Grid | None:
    """Tempo and bar lines, or None where there is no beat. ``hint_bpm``, said by ``source``, is taken as it is."""
    pulse = find_pulse(onsets, features.frame_rate, hint_bpm)
    if pulse is None:
        return None
    bars = find_bars(features, onsets, pulse.bpm)
    return Grid(
        bpm=pulse.bpm,
        downbeat_s=first_downbeat(bars.downbeat_s, 240.0 / pulse.bpm),
        steady=pulse.steady,
        confidence=min(1.0, pulse.clarity / 0.5) * bars.confidence,
        source="detected" if hint_bpm is None else source,
    )
