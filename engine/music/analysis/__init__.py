"""What a track is: tempo and bar lines, key, loudness, sections, and whether two files hold the same recording.

    keys.py         the 24 keys, Camelot, reading what DJ software writes
    facts.py        TrackAnalysis and its parts: values, to JSON and back
    analyse.py      audio in, TrackAnalysis out; what the DJ's software says wins
    levels.py       loudness, peak, clipping, silence, energy
    features.py     the two spectra that everything below listens to
    tempo.py        onsets → tempo, steady or not        bars.py      tempo → bar lines
    tonality.py     pitch → key                          sections.py  bars → intro, breakdown, drop …
    fingerprint.py  whether two files hold the same recording
    cards.py        a track as a picture (imports matplotlib, so it is not imported here)
    bench.py        how well all this hears, on the tracks of bench_tracks.py

Not here: decoding (engine/music/audio.py), what a crate does with all this (engine/crate).
"""

from engine.api import ANALYSIS_VERSION
from engine.music.analysis.analyse import analyse, find_grid_and_key
from engine.music.analysis.facts import AnalysisError, Fingerprint, Grid, Hints, Section, TrackAnalysis
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
    "find_grid_and_key",
    "parse_key",
    "same_recording",
]
