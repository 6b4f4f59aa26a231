"""What a DJ asks for beside words: tempo, key, bars, a loop. Pure: no audio, no numpy.

    "acid techno" + 130 BPM + 8A  ─ worded ─▶  "acid techno, 130 bpm, A minor"        what the model is told
    "techno, 132 bpm, Am"         ─ spoken ─▶  132 BPM, A minor                       what a prompt asks for by itself
    asked and heard               ─ outcome ─▶ "asked 130 BPM in 8A, came out 130.4 BPM in 8A ✓"

Used by the wire, by the engine and by the bot, so that all three mean the same. Not here: hearing a tempo (``engine.music.analysis``),
cutting a loop (``engine.music.loops``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.keys import Key, compatible, parse_key

MIN_BPM, MAX_BPM = 60.0, 200.0
BEATS_A_BAR = 4
MAX_BARS = 128
MAX_STRETCH = 0.04
"""How far a loop's tempo may be from the asked one and still be stretched to it; more is heard."""
SLOWEST_BPM = 110.0
"""Techno that nobody has named a tempo for is not expected to be slower."""
LEAST_HEARD_S = 6.0
"""Audio shorter than this is not enough to tell its tempo by, in seconds."""
SAME_TEMPO = 0.01
"""A clip is in the asked tempo within this share of it: a DJ's pitch fader takes up more in passing."""

_BPM = re.compile(r"(?<![\w.])(\d{2,3}(?:[.,]\d{1,2})?)[ -]?bpm\b|\btempo (?:of )?(\d{2,3}(?:[.,]\d{1,2})?)(?!\w)", re.IGNORECASE)
_NAMED_KEY = re.compile(r"(?<![\w#♭♯])([A-Ga-g](?:#|♯|b|♭| ?sharp| ?flat)?)[ -]?(minor|major|min|maj)\b(?=(\s*[,.;)]|\s*$)?)")
_SHORT_KEY = re.compile(r"(?<![\w#♭♯])(?:(1[0-2]|[1-9])[AB]|[A-G](?:#|♯|b|♭)?m)(?![\w#♭♯])")


@dataclass(frozen=True, slots=True)
class Aim:
    """The tempo (BPM) and key that a clip is to have, or turned out to have. None: any, or unknown."""

    bpm: float | None = None
    key: Key | None = None

    def __bool__(self) -> bool:
        return self.bpm is not None or self.key is not None


@dataclass(frozen=True, slots=True)
class LoopFacts:
    """How a loop was cut. bpm: exactly the tempo at which it repeats, None where no beat was found. own_bpm: before stretching.

    bars: None where there was no tempo to count them by.
    """

    bars: int | None
    bpm: float | None
    own_bpm: float | None


def bars_seconds(bars: int, bpm: float) -> float:
    """How long ``bars`` bars of 4/4 last."""
    return bars * BEATS_A_BAR * 60.0 / bpm


def loop_spare_s(length_s: float, bpm: float | None) -> float:
    """How much more than ``length_s`` to generate for a loop: it begins at the first bar line, and may be up to 4 % slow."""
    bar_s = bars_seconds(1, bpm or SLOWEST_BPM)
    return max(MAX_STRETCH * length_s + (1.0 + MAX_STRETCH) * bar_s + 0.15, LEAST_HEARD_S - length_s)


def spoken(prompt: str) -> Aim:
    """The tempo and key that a prompt names, as in "techno, 130 bpm, A minor", "tempo 128" or "acid in 8A".

    'a minor' in the middle of a sentence is no key ("a minor breakdown"); at its end or before a comma it is.
    """
    found = _BPM.search(prompt)
    bpm = float((found[1] or found[2]).replace(",", ".")) if found else None
    if bpm is not None and not MIN_BPM <= bpm <= MAX_BPM:
        bpm = None
    for named in _NAMED_KEY.finditer(prompt):
        if named[1][0].isupper() or named[3] is not None or len(named[1]) > 1:
            return Aim(bpm, parse_key(f"{named[1]} {named[2]}".replace(" sharp", "#").replace(" flat", "b")))
    short = _SHORT_KEY.search(prompt)
    return Aim(bpm, parse_key(short[0]) if short else None)


def worded(prompt: str, aim: Aim) -> str:
    """``prompt`` with tempo and key named as captions name them, unless it does so itself: "acid techno, 130 bpm, A minor".

    The tempo is told as a whole number: no caption has any other.
    """
    said = spoken(prompt)
    words = [prompt.strip().rstrip(",;")]
    if aim.bpm is not None and said.bpm is None:
        words.append(f"{aim.bpm:.0f} bpm")
    if aim.key is not None and said.key is None:
        words.append(aim.key.name)
    return ", ".join(word for word in words if word)


def tempo(bpm: float) -> str:
    """``130 BPM``, ``130.4 BPM``."""
    return f"{bpm:.1f}".removesuffix(".0") + " BPM"


def described(aim: Aim) -> str:
    """``130 BPM in 8A``; empty where nothing is known."""
    parts = ([tempo(aim.bpm)] if aim.bpm is not None else []) + ([f"in {aim.key.camelot}"] if aim.key is not None else [])
    return " ".join(parts)


def nearest_octave(heard: float, bpm: float) -> float:
    """``heard``, or its double or half where that is the tempo that was meant: 65 is 130 counted by every other beat."""
    return min((heard, heard * 2, heard / 2), key=lambda candidate: abs(candidate / bpm - 1.0))


def outcome(asked: Aim, track: Aim, heard: Aim, loop: LoopFacts | None = None) -> str | None:
    """What was wanted and what came out, in one line for a DJ; None where there is nothing to say.

    asked: by the person, in options or prompt. track: what the continued track has, where nothing else was asked.
    """
    lines = [line for line in (_compared(asked, track, heard, loop), _looped(asked, track, loop) if loop else None) if line]
    return "; ".join(lines) or None


def _compared(asked: Aim, track: Aim, heard: Aim, loop: LoopFacts | None) -> str | None:
    wanted = Aim(asked.bpm if asked.bpm is not None else track.bpm, asked.key or track.key)
    if not wanted:
        return described(heard) if heard.bpm is not None else None  # a key alone that nobody asked for is no news
    kept = Aim(None if asked.bpm is not None else track.bpm, None if asked.key else track.key)
    goal = ", ".join(
        part for part in (f"asked {described(asked)}" if asked else "", _of_the_track(kept, mixed=bool(asked))) if part
    )  # fmt: skip
    if not heard:
        return f"{goal}, but no steady beat and no key could be told in what came out"
    bpm_note, bpm_right = _tempo_note(wanted.bpm, heard.bpm)
    key_note, key_right = _key_note(wanted.key, heard.key)
    came_out = f"came out {described(heard)}" if heard.bpm is not None else f"came out in {heard.key.camelot}" if heard.key else ""
    notes = [note for note in (bpm_note, key_note) if note]
    return f"{goal}, {came_out}" + (" ✓" if bpm_right and key_right else f" ({', '.join(notes)})" if notes else "")


def _of_the_track(kept: Aim, *, mixed: bool) -> str:
    if not kept:
        return ""
    if kept.bpm is None and kept.key is not None:
        return f"the track is in {kept.key.camelot}"
    return f"{'the track has' if mixed else 'track'} {described(kept)}"


def _tempo_note(wanted: float | None, heard: float | None) -> tuple[str, bool]:
    if wanted is None:
        return "", True
    if heard is None:
        return "no steady beat found", False
    off = nearest_octave(heard, wanted) / wanted - 1.0
    if abs(off) <= SAME_TEMPO:
        return "", True
    return f"{abs(off) * 100:.1f} % too {'fast' if off > 0 else 'slow'}".replace(".0 %", " %"), False


def _key_note(wanted: Key | None, heard: Key | None) -> tuple[str, bool]:
    if wanted is None:
        return "", True
    if heard is None:
        return "key unclear", False
    if (wanted.tonic, wanted.mode) == (heard.tonic, heard.mode):
        return "", True
    return ("another key, but one that mixes" if compatible(wanted, heard) else "another key"), False


def _looped(asked: Aim, track: Aim, loop: LoopFacts) -> str:
    wanted = asked.bpm if asked.bpm is not None else track.bpm
    length = "loops" if loop.bars is None else f"{loop.bars} {'bar' if loop.bars == 1 else 'bars'}, loops"
    if loop.bpm is None:
        return f"{length}, but no beat was found to cut it by"
    if loop.own_bpm is None:
        return f"{length} at {tempo(loop.bpm)} by its length alone: no beat was found to cut it by"
    own = nearest_octave(loop.own_bpm, loop.bpm)
    if wanted is not None and abs(loop.bpm / wanted - 1.0) > 1e-6:
        return f"{length} at its own {tempo(loop.bpm)}, since {tempo(wanted)} is more than {MAX_STRETCH * 100:.0f} % away"
    stretched = abs(own / loop.bpm - 1.0)
    if wanted is None or stretched < 0.0005:
        return f"{length} at {tempo(loop.bpm)}"
    return f"{length} at exactly {tempo(loop.bpm)}, stretched by {stretched * 100:.1f} %"
