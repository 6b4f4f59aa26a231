"""Which tracks of a crate go with a track, and why, in a DJ's words. Pure: facts in, matches out.

A track fits when its tempo is within ±6 %, what a turntable's pitch fader reaches without hurting, and its key is the same on the
Camelot wheel or a neighbour. Among those that fit, the one that sounds closest comes first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from engine.api import Match, Similar
from engine.music.analysis.keys import Key, compatible

TEMPO_REACH = 0.06
"""Largest change of tempo, as a share."""
NEAREST = 3
"""So many are named where nothing fits."""
SOUNDS = ((0.92, "sounds very close"), (0.84, "sounds close"), (0.7, "sounds related"), (-1.0, "sounds different"))
"""From which closeness on what is said of it. Two of the embedded synthesiser's tracks in one manner: 0.79 to 0.95; in any two: 0.85 in the
median; one of them and an acoustic song: 0.35."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one track. vector: how it sounds, or None."""

    sha256: str
    bpm: float | None
    key: Key | None
    vector: Sequence[float] | None


def similar(track: Facts, candidates: Sequence[Facts], limit: int) -> Similar:
    """The candidates that fit, the closest first; where none does, those that come nearest."""
    matches = [match(track, candidate) for candidate in candidates]
    fitting = sorted((found for found in matches if found.fits), key=lambda found: _distance(track, found))
    nearest = [] if fitting else sorted(matches, key=lambda found: _distance(track, found))[:NEAREST]
    return Similar(
        bpm=track.bpm,
        camelot=track.key.camelot if track.key else None,
        matches=fitting[:limit],
        nearest=nearest,
        compared=len(matches),
    )


def match(track: Facts, other: Facts) -> Match:
    """One candidate beside the track, with the reason in words."""
    change = other.bpm / track.bpm - 1.0 if track.bpm and other.bpm else None
    in_reach = change is not None and abs(change) <= TEMPO_REACH + 1e-9
    key_fits = compatible(track.key, other.key) if track.key and other.key else None
    close = closeness(track.vector, other.vector)
    words = [_tempo_words(track, other, change), _key_words(track, other, key_fits), *([_sound_words(close)] if close is not None else [])]
    return Match(
        sha256=other.sha256,
        # A track without a beat has no tempo to match; one without a clear key, such as drums, clashes with none.
        fits=in_reach and key_fits is not False,
        bpm=other.bpm,
        tempo_change=change,
        camelot=other.key.camelot if other.key else None,
        key_fits=key_fits,
        closeness=close,
        reason="; ".join(words),
    )


def closeness(one: Sequence[float] | None, other: Sequence[float] | None) -> float | None:
    """Cosine of two vectors, −1 to 1; None where one is missing, or both say nothing."""
    if not one or not other or len(one) != len(other):
        return None
    length = math.hypot(*one) * math.hypot(*other)
    return max(-1.0, min(1.0, sum(a * b for a, b in zip(one, other, strict=True)) / length)) if length > 0 else None


def _distance(track: Facts, found: Match) -> tuple[int, float]:
    """Smaller is better: first by what stands in the way, then by sound; without sound, by tempo and key."""
    beyond = 10.0 if found.tempo_change is None else max(0.0, abs(found.tempo_change) - TEMPO_REACH) / TEMPO_REACH
    clash = 1.0 if found.key_fits is False else 0.0
    sound = 1.0 - found.closeness if found.closeness is not None else 1.0
    small = abs(found.tempo_change or 0.0) + (0.0 if track.key and found.camelot == track.key.camelot else 0.01)
    in_the_way = 0 if found.fits else 1
    return in_the_way, (beyond + clash + sound) + 0.01 * small


def _tempo_words(track: Facts, other: Facts, change: float | None) -> str:
    if change is None or track.bpm is None or other.bpm is None:
        return (
            "neither has a beat" if track.bpm is None and other.bpm is None else "it has no beat to match" if track.bpm else "no beat here"
        )
    words = f"{track.bpm:.1f} → {other.bpm:.1f} BPM, {_signed(change)}"
    return words if abs(change) <= TEMPO_REACH + 1e-9 else f"{words}: more than ±{TEMPO_REACH * 100:.0f} %"


def _signed(change: float) -> str:
    percent = round(change * 100, 1)
    return "±0 %" if percent == 0 else f"{'+' if percent > 0 else '−'}{abs(percent):.1f} %"


def _key_words(track: Facts, other: Facts, fits: bool | None) -> str:
    if track.key is None or other.key is None:
        return "no clear key that could clash"
    wheel = f"{track.key.camelot} → {other.key.camelot}"
    if track.key.camelot == other.key.camelot:
        return f"both {track.key.camelot}"
    return wheel if fits else f"{wheel}: the keys clash"


def _sound_words(close: float) -> str:
    return next(words for least, words in SOUNDS if close >= least)
