"""The 24 keys as values: names, the Camelot wheel, reading what DJ software writes. Pure. How a key is heard is in engine/music/analysis.

            8B C major            Camelot: the number is the place on the circle of fifths, A is minor and B is major.
7A D minor  8A A minor  9A E minor   Keys that fit: same number, or one step round with the same letter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

Mode = Literal["major", "minor"]

NOTE_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")

_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11, "H": 11}
_ACCIDENTALS = {"#": 1, "♯": 1, "b": -1, "♭": -1}
_MINOR = {"m", "min", "minor", "moll", "-", "phrygian", "aeolian", "dorian"}
_MAJOR = {"", "M", "maj", "major", "dur", "ionian", "lydian", "mixolydian"}
_WHEEL = re.compile(r"0?(1[0-2]|[1-9])\s*([ABabDdm])")
_WRITTEN = re.compile(r"([A-Ha-h])\s*(#{1,2}|♯|♭|b{1,2}|sharp|flat|is|es)?\s*[-_ ]?\s*([A-Za-z]*|-)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Key:
    """tonic: pitch class, 0 = C … 11 = B. confidence: 0 to 1. source: 'detected', or who said so."""

    tonic: int
    mode: Mode
    confidence: float = 1.0
    source: str = "detected"

    def __post_init__(self) -> None:
        if not 0 <= self.tonic < 12 or self.mode not in ("major", "minor"):
            raise ValueError(f"no key: tonic {self.tonic!r}, mode {self.mode!r}")

    @property
    def name(self) -> str:
        """As 'A minor'."""
        return f"{NOTE_NAMES[self.tonic]} {self.mode}"

    @property
    def short(self) -> str:
        """As 'Am': what ID3's TKEY and most DJ software hold."""
        return NOTE_NAMES[self.tonic] + ("m" if self.mode == "minor" else "")

    @property
    def camelot(self) -> str:
        """As '8A'."""
        return f"{self.wheel}{'A' if self.mode == 'minor' else 'B'}"

    @property
    def wheel(self) -> int:
        """Place on the Camelot wheel, 1 to 12: C major and A minor are 8, a fifth up is one more."""
        major = self.tonic if self.mode == "major" else (self.tonic + 3) % 12
        return (7 * major + 7) % 12 + 1

    def record(self) -> dict[str, Any]:
        """For JSON; ``name`` and ``camelot`` are for whoever reads it."""
        return {
            "tonic": self.tonic,
            "mode": self.mode,
            "confidence": round(self.confidence, 3),
            "source": self.source,
            "name": self.name,
            "camelot": self.camelot,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Key:
        """Raises KeyError, TypeError, ValueError."""
        return cls(int(record["tonic"]), record["mode"], float(record["confidence"]), str(record["source"]))


def parse_key(text: str | None, *, source: str = "detected", confidence: float = 1.0) -> Key | None:
    """What DJs and their software write: 'Am', 'A minor', 'A-Moll', 'Bbm', 'F#m', 'Db maj', Camelot '8A', Open Key '1m' and '1d'.

    None where it is no key. Church modes become the mode with the same third, since DJs count in two.
    """
    written = " ".join((text or "").split())
    if not written or len(written) > 24:
        return None
    on_wheel = _WHEEL.fullmatch(written)
    if on_wheel:
        return _from_wheel(int(on_wheel[1]), on_wheel[2], source, confidence)
    found = _WRITTEN.fullmatch(written)
    if not found:
        return None
    letter, accidental, word = found[1], (found[2] or "").lower(), found[3]
    if letter.islower() and not accidental and not word:
        return None  # a lone 'a' is a minor key to some and a major key to others
    mode: Mode
    if word != "M" and word.lower() in _MINOR:
        mode = "minor"
    elif word == "M" or word.lower() in _MAJOR:
        mode = "major"
    else:
        return None
    shift = {"is": 1, "sharp": 1, "es": -1, "flat": -1}.get(accidental)
    if shift is None:
        shift = sum(_ACCIDENTALS[sign] for sign in accidental)
    return Key((_LETTERS[letter.upper()] + shift) % 12, mode, confidence, source)


def _from_wheel(number: int, letter: str, source: str, confidence: float) -> Key:
    """Camelot's A and B; Open Key's m and d, whose 1 is Camelot's 8."""
    if letter in "Ddm":
        number = (number + 6) % 12 + 1
    major = 7 * (number - 8) % 12
    if letter in "Aam":
        return Key((major - 3) % 12, "minor", confidence, source)
    return Key(major, "major", confidence, source)


def compatible(a: Key, b: Key) -> bool:
    """Whether a DJ would mix them in key: the same place on the Camelot wheel (relative keys too), or a neighbour with the same letter."""
    steps = (a.wheel - b.wheel) % 12
    return steps == 0 or (steps in (1, 11) and a.mode == b.mode)
