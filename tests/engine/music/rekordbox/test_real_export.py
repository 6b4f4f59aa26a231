"""A real stick, where one is at hand: REKORDBOX_EXPORT=/media/stick pytest tests/engine/music/rekordbox/test_real_export.py

Nothing of it is in the project. What rekordbox wrote twice, into export.pdb and into the analysis files, must come out the same.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from engine.music.rekordbox import find_library

EXPORT = os.environ.get("REKORDBOX_EXPORT")


@pytest.mark.skipif(EXPORT is None, reason="needs a rekordbox export: name its folder in REKORDBOX_EXPORT")
def test_both_sides_of_a_real_export_agree() -> None:
    library = find_library(Path(str(EXPORT)))
    assert library is not None
    assert library.problems == ()
    assert library.tracks
    grids = 0
    for number, track in library.tracks.items():
        assert track.path.startswith("/")
        assert track.title
        analysis = library.analysis(number)
        assert analysis is not None, track.path
        assert analysis.problems == ()
        assert analysis.audio_path == track.path
        if analysis.grid is not None and track.bpm is not None:
            grids += 1
            assert analysis.grid.bpm[0] == pytest.approx(track.bpm, abs=0.01)
            assert np.all(np.diff(analysis.grid.beats_s) > 0)
            assert track.duration_s is not None
            assert analysis.grid.beats_s[-1] < track.duration_s + 1
            if analysis.grid.steady:
                assert np.median(np.diff(analysis.grid.beats_s)) == pytest.approx(60 / track.bpm, abs=0.002)
    assert grids
