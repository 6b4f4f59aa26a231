"""``analyse``: audio in, TrackAnalysis out. Each part is found in the module of its name; what the DJ's software says wins."""

from __future__ import annotations

from engine.music.analysis.facts import ANALYSIS_VERSION, Hints, TrackAnalysis
from engine.music.analysis.features import extract
from engine.music.analysis.fingerprint import take_fingerprint
from engine.music.analysis.levels import ENERGY_S, measure_levels
from engine.music.analysis.tonality import find_key
from engine.music.audio import Audio

_NO_HINTS = Hints()


def analyse(audio: Audio, hints: Hints = _NO_HINTS) -> TrackAnalysis:
    """Everything about one recording, at any rate, mono or stereo; silence and fragments give an analysis that says so.

    What ``hints`` holds is taken as it is, with its own ``source``.
    """
    levels = measure_levels(audio)
    features = extract(audio)
    return TrackAnalysis(
        version=ANALYSIS_VERSION,
        duration_s=audio.duration_s,
        grid=hints.grid,
        key=hints.key or find_key(features),
        lufs=levels.lufs,
        peak_dbfs=levels.peak_dbfs,
        clipped_share=levels.clipped_share,
        silences=levels.silences,
        energy_s=ENERGY_S,
        energy=levels.energy,
        sections=(),
        fingerprint=take_fingerprint(features),
    )
