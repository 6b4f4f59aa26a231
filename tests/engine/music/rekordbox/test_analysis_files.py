"""ANLZ0000.DAT and .EXT: grids and cues that are written byte by byte are read back, from whole and from damaged files."""

from __future__ import annotations

import re
import struct
import tracemalloc
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.music.rekordbox import Cue, DjAnalysis, LibraryError, find_library, read_analysis

GRID = [(index % 4 + 1, 130.0, round(0.125 + index * 60 / 130, 3)) for index in range(500)]
SONG = "/Contents/Ä/夜.mp3"


@pytest.fixture
def folder(tmp_path: Path, anlz: Any) -> Path:
    """A .DAT and an .EXT as rekordbox fills them."""
    (tmp_path / "ANLZ0000.DAT").write_bytes(
        anlz.file(
            anlz.path(SONG),
            anlz.tag(b"PVBR", bytes(4), bytes(1604)),
            anlz.beats(GRID),
            anlz.waveform(400),
            anlz.plain_cues(1, [(1, 10.5, None)]),
            anlz.plain_cues(0, [(0, 0.125, None), (0, 60.0, 67.385)]),
        )
    )
    (tmp_path / "ANLZ0000.EXT").write_bytes(
        anlz.file(
            anlz.path(SONG),
            anlz.waveform(50_000),
            anlz.plain_cues(1, [(1, 10.5, None)]),
            anlz.plain_cues(0, []),
            anlz.named_cues(1, [(1, 10.5, None, "Drop 夜"), (8, 30.0, 31.846, "Loop")]),
            anlz.named_cues(0, []),
            anlz.tag(b"PSSI", bytes(20), bytes(240)),
        )
    )
    return tmp_path


def whole(analysis: DjAnalysis) -> None:
    assert analysis.grid is not None
    np.testing.assert_array_equal(analysis.grid.beats_s, [time_s for _, _, time_s in GRID])
    np.testing.assert_array_equal(analysis.grid.position_in_bar, [position for position, _, _ in GRID])
    np.testing.assert_array_equal(analysis.grid.bpm, 130.0)
    assert [array.dtype for array in (analysis.grid.beats_s, analysis.grid.position_in_bar, analysis.grid.bpm)] == [float, np.int8, float]


def test_grid_and_cues(folder: Path) -> None:
    analysis = read_analysis(folder / "ANLZ0000.DAT")
    whole(analysis)
    assert analysis.cues == (
        Cue(0.125),  # from the .DAT: the .EXT has no memory cues
        Cue(10.5, None, "Drop 夜", hot=1),
        Cue(30.0, 31.846, "Loop", hot=8),
        Cue(60.0, 67.385),
    )
    assert (analysis.audio_path, analysis.problems) == (SONG, ())


def test_either_of_the_two_names_both(folder: Path) -> None:
    expected = read_analysis(folder / "ANLZ0000.DAT").cues
    assert read_analysis(folder / "ANLZ0000.EXT").cues == expected
    (folder / "ANLZ0000.EXT").rename(folder / "ANLZ0000.ext")
    assert read_analysis(folder / "ANLZ0000.DAT").cues == expected


def test_one_of_the_two_is_enough(folder: Path) -> None:
    (folder / "ANLZ0000.EXT").unlink()
    analysis = read_analysis(folder / "ANLZ0000.DAT")
    whole(analysis)
    assert analysis.cues == (Cue(0.125), Cue(10.5, hot=1), Cue(60.0, 67.385))
    (folder / "ANLZ0000.DAT").rename(folder / "ANLZ0000.EXT")
    whole(read_analysis(folder / "ANLZ0000.EXT"))


def test_a_grid_of_changing_tempo(tmp_path: Path, anlz: Any) -> None:
    rows = [(3, 128.0, 0.5), (4, 128.0, 0.969), (1, 64.0, 1.438), (2, 64.0, 2.375)]
    (tmp_path / "A.DAT").write_bytes(anlz.file(anlz.beats(rows)))
    grid = read_analysis(tmp_path / "A.DAT").grid
    assert grid is not None
    assert (grid.first_downbeat_s, grid.steady, grid.bpm.tolist()) == (1.438, False, [128.0, 128.0, 64.0, 64.0])


def test_no_grid(tmp_path: Path, anlz: Any) -> None:
    (tmp_path / "A.DAT").write_bytes(anlz.file(anlz.beats([])))
    analysis = read_analysis(tmp_path / "A.DAT")
    assert (analysis.grid, analysis.cues, analysis.problems) == (None, (), ())


def test_from_the_stick(tmp_path: Path, folder: Path, pdb: Any, stick: Any) -> None:
    pdb.track(1, analysis="/PIONEER/USBANLZ/P001/0001/ANLZ0000.DAT")
    pdb.track(2, analysis="/PIONEER/USBANLZ/P001/0002/ANLZ0000.DAT")
    pdb.track(3)
    root = stick(pdb.build())
    for number in (1, 2):
        place = root / "PIONEER" / "USBANLZ" / "P001" / f"000{number}"
        place.mkdir(parents=True)
        if number == 1:
            (folder / "ANLZ0000.DAT").rename(place / "ANLZ0000.DAT")
        else:
            (place / "ANLZ0000.DAT").write_bytes(b"nothing of the kind")
    library = find_library(root)
    assert library is not None
    analysis = library.analysis(1)
    assert analysis is not None
    whole(analysis)
    damaged = library.analysis(2)
    assert damaged is not None
    assert (damaged.grid, len(damaged.problems)) == (None, 1)
    assert library.analysis(3) is None


@pytest.mark.parametrize("content", [b"", b"RIFF" + bytes(100), b"PMAI"])
def test_what_is_no_analysis_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "A.DAT").write_bytes(content)
    with pytest.raises(LibraryError, match="analyse the track again"):
        read_analysis(tmp_path / "A.DAT")
    with pytest.raises(LibraryError, match="analyse the track in rekordbox"):
        read_analysis(tmp_path / "B.DAT")


def test_wild_beats_cost_themselves(tmp_path: Path, anlz: Any) -> None:
    rows = list(GRID)
    rows[10] = (rows[10][0], 130.0, 4_000_000.0)  # later than all
    rows[20] = (rows[20][0], 130.0, 0.0)  # earlier than all
    rows[30] = (0, 130.0, rows[30][2])
    rows[40] = (rows[40][0], 0.0, rows[40][2])
    (tmp_path / "A.DAT").write_bytes(anlz.file(anlz.beats(rows)))
    analysis = read_analysis(tmp_path / "A.DAT")
    assert analysis.grid is not None
    assert analysis.grid.beats_s.tolist() == [time_s for index, (_, _, time_s) in enumerate(GRID) if index not in {10, 20, 30, 40}]
    assert analysis.problems == ("4 of 500 beats of the grid are damaged. They are left out.",)


def test_cut_off_the_rest_is_read(folder: Path) -> None:
    file = folder / "ANLZ0000.DAT"
    content = file.read_bytes()
    beats_at = content.index(b"PQTZ")
    (folder / "ANLZ0000.EXT").unlink()
    file.write_bytes(content[: beats_at + 24 + 8 * 100 + 3])
    analysis = read_analysis(file)
    assert analysis.grid is not None
    assert len(analysis.grid.beats_s) == 100
    assert analysis.problems == (
        "ANLZ0000.DAT: PQTZ is cut off, or longer than any real one. What is there is read.",
        "The beat grid says 500 beats and has 100.",
    )


def test_a_length_of_nothing_ends_the_file(folder: Path) -> None:
    file = folder / "ANLZ0000.DAT"
    content = bytearray(file.read_bytes())
    struct.pack_into(">I", content, content.index(b"PWAV") + 8, 0)
    file.write_bytes(content)
    analysis = read_analysis(file)
    whole(analysis)
    assert any(re.match(r"ANLZ0000.DAT: damaged at byte [\d,]+\. What stands before is read\.", problem) for problem in analysis.problems)


def test_a_cue_without_its_name(tmp_path: Path, anlz: Any) -> None:
    (tmp_path / "A.EXT").write_bytes(anlz.file(anlz.named_cues(1, [(1, 1.0, None, None), (2, 2.0, None, "B"), (3, 3.0, None, "")])))
    assert read_analysis(tmp_path / "A.EXT").cues == (Cue(1.0, hot=1), Cue(2.0, None, "B", 2), Cue(3.0, hot=3))


def test_a_huge_tag_is_not_taken_into_memory(tmp_path: Path, anlz: Any) -> None:
    """A grid that says to be 4 GB long, in a file that has (sparse) 1 GB."""
    content = bytearray(anlz.file(anlz.beats(GRID)))
    struct.pack_into(">I", content, 28 + 8, 2**32 - 1)
    struct.pack_into(">I", content, 28 + 20, 2**32 - 1)
    file = tmp_path / "A.DAT"
    file.write_bytes(content)
    with file.open("r+b") as opened:
        opened.truncate(2**30)
    tracemalloc.start()
    try:
        analysis = read_analysis(file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert analysis.grid is not None
    assert len(analysis.grid.beats_s) == 500
    assert analysis.problems
    assert peak < 100e6


@settings(max_examples=100, deadline=timedelta(seconds=5), suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(
    changes=st.lists(st.tuples(st.integers(0, 8000), st.binary(min_size=1, max_size=12)), max_size=6),
    length=st.none() | st.integers(0, 8000),
    which=st.sampled_from(["ANLZ0000.DAT", "ANLZ0000.EXT"]),
)
def test_damage_never_breaks_it(folder: Path, changes: list[tuple[int, bytes]], length: int | None, which: str) -> None:
    original = (folder / which).read_bytes()
    content = bytearray(original)
    for where, other in changes:
        at = where % len(content)
        content[at : at + len(other)] = other[: len(content) - at]
    (folder / which).write_bytes(content[:length])
    try:
        analysis = read_analysis(folder / which)
    except LibraryError as error:
        assert str(error)
    else:
        if analysis.grid is not None:
            assert np.all(np.diff(analysis.grid.beats_s) > 0)
            assert len(analysis.grid.beats_s) == len(analysis.grid.position_in_bar) == len(analysis.grid.bpm) >= 1
            assert np.all(analysis.grid.position_in_bar >= 1)
        for cue in analysis.cues:
            assert cue.loop_end_s is None or cue.loop_end_s > cue.time_s
            cue.name.encode()
    finally:
        (folder / which).write_bytes(original)
