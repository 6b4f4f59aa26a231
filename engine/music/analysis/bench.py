"""``python -m engine analyse-bench``: tempo, bar lines and key of tracks whose truth is known, beside librosa's ``beat_track``.

Tracks are made by bench_tracks.py, one after the other; nothing of one is kept but its row. Bar lines count when the grid's first and its
last are both within 20 ms, so a tempo that is slightly off fails too. Not here: real music.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from engine.music.analysis.analyse import analyse
from engine.music.analysis.bench_tracks import BenchTrack, facts, make_track
from engine.music.analysis.keys import compatible

WITHIN_BPM = 0.1
WITHIN_S = 0.02
EPILOG = """\
examples:
  python -m engine analyse-bench                    100 tracks, some minutes
  python -m engine analyse-bench --tracks 12 --bars 16
  python -m engine analyse-bench --json > rows.json  every track's row as well

librosa is measured where it is installed (pip install librosa).
"""

Row = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Make tracks, listen to them, print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m engine analyse-bench",
        description="Tempo, bar lines and key, heard in synthesised tracks of which all three are known.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tracks", type=int, default=100, metavar="N", help="how many (default 100)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first (default 0)")
    parser.add_argument("--bars", type=int, default=24, metavar="N", help="bars a track, at least 8 (default 24: about 45 seconds)")
    parser.add_argument("--no-librosa", action="store_true", help="leave librosa out")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout: summary and rows")
    arguments = parser.parse_args(argv)
    if arguments.tracks < 1 or arguments.bars < 8 or arguments.first < 0:
        parser.error("--tracks is at least 1, --bars at least 8, --first at least 0")
    with_librosa = not arguments.no_librosa and importlib.util.find_spec("librosa") is not None
    rows = []
    for number in range(arguments.first, arguments.first + arguments.tracks):
        rows.append(measure(make_track(number, bars=arguments.bars), with_librosa=with_librosa))
        print(f"\r{len(rows)} of {arguments.tracks}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    result = {"summary": summarise(rows), "librosa": version("librosa") if with_librosa else None, "rows": rows}
    print(json.dumps(result) if arguments.json else table(result))
    return 0


def measure(track: BenchTrack, *, with_librosa: bool) -> Row:
    """One track's truth and what was heard."""
    began = time.process_time()
    found = analyse(track.audio)
    row = facts(track) | {"seconds": round(track.audio.duration_s, 1), "cpu_s": round(time.process_time() - began, 2)}
    bpm = found.grid.bpm if found.grid else None
    row |= {"heard_bpm": bpm, **_tempo("heard", bpm, track.bpm)}
    off_s = None
    if found.grid:
        lines = found.grid.bars_s(track.audio.duration_s)
        off_s = max(_off_bar(float(line), track) for line in (lines[0], lines[-1]))
    row |= {
        "off_ms": None if off_s is None else round(1000 * off_s, 2),
        "downbeat": off_s is not None and off_s <= WITHIN_S,
        "steady": found.grid is not None and found.grid.steady,
        "confidence": round(found.grid.confidence, 3) if found.grid else None,
        "heard_key": found.key.name if found.key else None,
        "key": track.key.name,
        "key_exact": found.key is not None and (found.key.tonic, found.key.mode) == (track.key.tonic, track.key.mode),
        "key_fits": found.key is not None and compatible(found.key, track.key),
    }
    if with_librosa:
        row |= _librosa(track)
    return row


def _off_bar(line_s: float, track: BenchTrack) -> float:
    """Seconds from a found bar line to the nearest true one."""
    bar_s = 240.0 / track.bpm
    return abs((line_s - track.downbeat_s + bar_s / 2) % bar_s - bar_s / 2)


def _tempo(whose: str, bpm: float | None, truth: float) -> Row:
    ratio = bpm / truth if bpm else 0.0
    octave = any(abs(ratio / wrong - 1.0) < 0.04 for wrong in (0.5, 2.0))
    return {f"{whose}_tempo": bpm is not None and abs(bpm - truth) <= WITHIN_BPM, f"{whose}_octave": octave}


def _librosa(track: BenchTrack) -> Row:
    """beat_track with its defaults, at its usual 22,050 Hz: the tempo it says, and the one that a line through its beats has."""
    from librosa.beat import beat_track

    mono = track.audio.samples.mean(axis=0)
    up, down = (1, 2) if track.audio.sample_rate == 44100 else (441, 640)
    at_22k: NDArray[np.float32] = resample_poly(mono, up, down).astype(np.float32)
    began = time.process_time()
    said, beats = beat_track(y=at_22k, sr=22050, units="time")
    cpu_s = round(time.process_time() - began, 2)
    tempo = float(np.atleast_1d(said)[0])
    fitted = float(60.0 / np.polyfit(np.arange(len(beats)), beats, 1)[0]) if len(beats) > 2 else None
    row: Row = {"librosa_bpm": tempo, "librosa_cpu_s": cpu_s, **_tempo("librosa", tempo, track.bpm)}
    return row | {"librosa_beats_bpm": fitted, **_tempo("librosa_beats", fitted, track.bpm)}


def summarise(rows: list[Row]) -> list[Row]:
    """One line for all tracks, one for each kind, front, and treatment."""
    groups: list[tuple[str, list[Row]]] = [("all", rows)]
    groups += [(kind, [row for row in rows if row["kind"] == kind]) for kind in dict.fromkeys(row["kind"] for row in rows)]
    groups += [(front, [row for row in rows if row["front"] == front]) for front in ("silence", "beatless intro", "cut within a bar")]
    groups += [("noise", [row for row in rows if row["noise_db"] is not None]), ("MP3 at 128 kbit/s", [row for row in rows if row["mp3"]])]
    counted = ("heard_tempo", "heard_octave", "downbeat", "key_exact", "key_fits")
    librosas = ("librosa_tempo", "librosa_octave", "librosa_beats_tempo", "librosa_beats_octave")
    summary = []
    for name, members in groups:
        if members:
            keys = counted + (librosas if "librosa_tempo" in members[0] else ())
            found = [abs(row["heard_bpm"] - row["bpm"]) for row in members if row["heard_tempo"]]
            line: Row = {"tracks": name, "count": len(members)} | {key: sum(bool(row[key]) for row in members) for key in keys}
            line["median_bpm_error"] = round(float(np.median(found)), 4) if found else None
            line["cpu_s_per_minute"] = round(60 * sum(row["cpu_s"] for row in members) / sum(row["seconds"] for row in members), 2)
            summary.append(line)
    return summary


def table(result: Row) -> str:
    """Markdown."""
    librosa = result["librosa"]
    head = ["tracks", "", "tempo ±0.1", "octave errors", "downbeat ±20 ms", "key exact", "key fits (Camelot)"]
    head += [f"librosa {librosa}: tempo ±0.1", "its octave errors", "from its beats ±0.1"] if librosa else []
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join(["---", *["--:"] * (len(head) - 1)]) + "|"]
    for line in result["summary"]:
        count = line["count"]

        def share(key: str, line: Row = line, count: int = count) -> str:
            return f"{100 * line[key] / count:.0f} %" if key in line else ""

        cells = [line["tracks"], str(count), share("heard_tempo"), str(line["heard_octave"]), share("downbeat")]
        cells += [share("key_exact"), share("key_fits")]
        if librosa:
            cells += [share("librosa_tempo"), str(line["librosa_octave"]), share("librosa_beats_tempo")]
        lines.append("| " + " | ".join(cells) + " |")
    every = result["summary"][0]
    about = f"Median tempo error {every['median_bpm_error']} BPM; {every['cpu_s_per_minute']} s of one core a minute of audio."
    return "\n".join([*lines, "", about])
