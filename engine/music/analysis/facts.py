"""What is known about a track, as frozen values that go into JSON and come back. How it is found out is in the modules beside this.

TrackAnalysis
├─ grid: Grid            ──┬────┬────┬────┬──   one tempo, bar lines from ``downbeat_s`` on
├─ key: Key                 (keys.py)
├─ sections: Section …     intro │ main │ breakdown │ build │ drop │ outro
├─ energy                  ▂▃▅▅▇▇▂▂▅▇▇▃   one value a second
└─ fingerprint             what a re-encode has in common with its original
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from engine.api import ANALYSIS_VERSION
from engine.music.analysis.keys import Key

SectionKind = Literal["intro", "main", "build", "breakdown", "drop", "outro"]

EARLY_S = 0.03
"""How far before a file's first sample its first bar line may lie: files are cut by hand, and onsets found to a few milliseconds."""

BEATS_A_BAR = 4


class AnalysisError(ValueError):
    """A record that can't be read."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A constant tempo in 4/4.

    downbeat_s: the first bar line, in [−EARLY_S, one bar). steady: the track keeps this grid from beginning to end; where it does not,
    ``bpm`` is what most of it has. confidence: 0 to 1. source: 'detected', or who said so.
    """

    bpm: float
    downbeat_s: float
    steady: bool
    confidence: float
    source: str = "detected"

    @property
    def beat_s(self) -> float:
        """Seconds a beat."""
        return 60.0 / self.bpm

    @property
    def bar_s(self) -> float:
        """Seconds a bar."""
        return BEATS_A_BAR * self.beat_s

    def beats_s(self, duration_s: float) -> NDArray[np.float64]:
        """Every beat in [0, duration_s), those before the first bar line too: float64 [N]."""
        return _steps(self.downbeat_s, self.beat_s, duration_s)

    def bars_s(self, duration_s: float) -> NDArray[np.float64]:
        """Every bar line in [0, duration_s): float64 [N]. The first is ``downbeat_s``."""
        return _steps(self.downbeat_s, self.bar_s, duration_s)

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "bpm": round(self.bpm, 4),
            "downbeat_s": round(self.downbeat_s, 5),
            "steady": self.steady,
            "confidence": round(self.confidence, 3),
            "source": self.source,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Grid:
        """Raises KeyError, TypeError, ValueError."""
        bpm, downbeat_s = float(record["bpm"]), float(record["downbeat_s"])
        if not (0 < bpm < 1000 and math.isfinite(downbeat_s)):
            raise ValueError("no tempo")
        return cls(bpm, downbeat_s, bool(record["steady"]), float(record["confidence"]), str(record["source"]))


def first_downbeat(any_downbeat_s: float, bar_s: float) -> float:
    """The first bar line of a grid of which one bar line is known: in [−EARLY_S, bar_s − EARLY_S)."""
    return (any_downbeat_s + EARLY_S) % bar_s - EARLY_S


def _steps(first_s: float, step_s: float, duration_s: float) -> NDArray[np.float64]:
    """first_s + k · step_s for every k that lands in [0, duration_s); one up to EARLY_S before 0 counts as 0."""
    lowest = math.ceil((-EARLY_S - first_s) / step_s)
    count = max(0, math.ceil((duration_s - first_s) / step_s) - lowest)
    return np.maximum(first_s + step_s * np.arange(lowest, lowest + count, dtype=np.float64), 0.0)


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the track, on bar lines where there is a grid. energy: mean of the energy curve in it, 0 to 1."""

    start_s: float
    end_s: float
    kind: SectionKind
    energy: float

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {"start_s": round(self.start_s, 4), "end_s": round(self.end_s, 4), "kind": self.kind, "energy": round(self.energy, 3)}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Section:
        """Raises KeyError, TypeError, ValueError."""
        if record["kind"] not in get_args(SectionKind):
            raise ValueError(f"no kind of section: {record['kind']!r}")
        return cls(float(record["start_s"]), float(record["end_s"]), record["kind"], float(record["energy"]))


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """How harmony and energy move over time: int8 [F, rows], a row block every ``step_s``. Compare with ``same_recording``."""

    data: bytes
    rows: int
    step_s: float

    def frames(self) -> NDArray[np.int8]:
        """[F, rows] int8."""
        return np.frombuffer(self.data, dtype=np.int8).reshape(-1, self.rows)

    def record(self) -> dict[str, Any]:
        """For JSON: about 20 kB for six minutes."""
        return {"data": base64.b64encode(self.data).decode("ascii"), "rows": self.rows, "step_s": self.step_s}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Fingerprint:
        """Raises KeyError, TypeError, ValueError."""
        data, rows = base64.b64decode(record["data"], validate=True), int(record["rows"])
        if rows < 1 or len(data) % rows:
            raise ValueError("no fingerprint")
        return cls(data, rows, float(record["step_s"]))


@dataclass(frozen=True, slots=True)
class Hints:
    """What the DJ's software says about a track; it wins over what is heard.

    grid: tempo and bar lines. bpm: the tempo alone, where no grid came with it: only the bar lines are then listened for.
    source: who says so, for ``bpm``; grid and key carry their own.
    """

    grid: Grid | None = None
    key: Key | None = None
    bpm: float | None = None
    source: str = "hint"


@dataclass(frozen=True, slots=True)
class TrackAnalysis:
    """Everything that is known about one recording.

    lufs: integrated loudness (BS.1770-4), None for silence. peak_dbfs: loudest sample. clipped_share: of samples, those in runs at full
    scale. silences: (start, end) in seconds, below −60 dBFS for at least half a second. energy: one value every ``energy_s`` seconds, 0
    to 1: K-weighted loudness, 40 dB below the track's loudest second is 0. grid: None where there is no beat. key: None where there is no
    pitch.
    """

    version: int
    duration_s: float
    grid: Grid | None
    key: Key | None
    lufs: float | None
    peak_dbfs: float
    clipped_share: float
    silences: tuple[tuple[float, float], ...]
    energy_s: float
    energy: tuple[float, ...]
    sections: tuple[Section, ...]
    fingerprint: Fingerprint

    def record(self) -> dict[str, Any]:
        """For JSON; ``from_record`` reads it back."""
        return {
            "version": self.version,
            "duration_s": round(self.duration_s, 4),
            "grid": self.grid.record() if self.grid else None,
            "key": self.key.record() if self.key else None,
            "lufs": None if self.lufs is None else round(self.lufs, 2),
            "peak_dbfs": round(self.peak_dbfs, 2),
            "clipped_share": round(self.clipped_share, 7),
            "silences": [[round(start, 3), round(end, 3)] for start, end in self.silences],
            "energy_s": self.energy_s,
            "energy": [round(value, 3) for value in self.energy],
            "sections": [section.record() for section in self.sections],
            "fingerprint": self.fingerprint.record(),
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> TrackAnalysis:
        """Raises AnalysisError: another version, or not such a record."""
        try:
            if record["version"] != ANALYSIS_VERSION:
                raise AnalysisError(f"An analysis of version {record['version']!r}, not {ANALYSIS_VERSION}: analyse the track again.")
            return cls(
                version=ANALYSIS_VERSION,
                duration_s=float(record["duration_s"]),
                grid=Grid.from_record(record["grid"]) if record["grid"] is not None else None,
                key=Key.from_record(record["key"]) if record["key"] is not None else None,
                lufs=None if record["lufs"] is None else float(record["lufs"]),
                peak_dbfs=float(record["peak_dbfs"]),
                clipped_share=float(record["clipped_share"]),
                silences=tuple((float(start), float(end)) for start, end in record["silences"]),
                energy_s=float(record["energy_s"]),
                energy=tuple(float(value) for value in record["energy"]),
                sections=tuple(Section.from_record(section) for section in record["sections"]),
                fingerprint=Fingerprint.from_record(record["fingerprint"]),
            )
        except AnalysisError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise AnalysisError("That is no analysis of a track, or a damaged one: analyse the track again.") from error
