"""What a track is: tempo and bar lines, key, loudness, sections, and whether two files hold the same recording.

    keys.py         the 24 keys, Camelot, reading what DJ software writes
    facts.py        TrackAnalysis and its parts: values, to JSON and back
    levels.py       loudness, peak, clipping, silence, energy

Not here: decoding (engine/music/audio.py), what a crate does with all this (engine/crate).
"""

from engine.music.analysis.analyse import analyse
from engine.music.analysis.facts import ANALYSIS_VERSION, AnalysisError, Fingerprint, Grid, Hints, Section, TrackAnalysis
from engine.music.analysis.fingerprint import SAME, same_recording
from engine.music.analysis.keys import Key, compatible, parse_key

__all__ = [
    "ANALYSIS_VERSION",
    "SAME",
    "AnalysisError",
    "Fingerprint",
    "Grid",
    "Hints",
    "Key",
    "Section",
    "TrackAnalysis",
    "analyse",
    "compatible",
    "parse_key",
    "same_recording",
]
