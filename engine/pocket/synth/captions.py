"""The words for a track: what a person might type who wants one like it. How words become numbers is in engine/pocket/text.py."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.pocket.synth.manners import MANNERS

TEMPO_FORMS = ("{bpm} bpm", "{bpm} BPM", "at {bpm} bpm", "{bpm}bpm", "tempo {bpm}")
KEY_FORMS = ("{key}", "in {key}", "key of {key}")


def spoken_bpm(beat_frames: int, rng: np.random.Generator) -> int:
    """A whole number that someone would say for this tempo of the grid: the nearest, or any other to which no grid tempo is nearer."""
    exact = 3000 / beat_frames
    if rng.random() < 0.6:
        return round(exact)
    slower, faster = 3000 / (beat_frames + 1), 3000 / (beat_frames - 1)
    low, high = int(np.ceil((exact + slower) / 2)), int(np.floor((exact + faster) / 2))
    return int(rng.integers(low, high + 1))


def caption(
    manner: str, bpm: float, key: str, tags: Sequence[str], rng: np.random.Generator, *, tempo: bool = False, grid: bool = True
) -> str:
    """One caption in words that vary with `rng`: from 'techno' alone to manner, tempo, key (if there is one) and tags; surely with a
    tempo if asked.

    `grid`: the tempo is one of those whose beat is a whole number of frames, and is called by any number to which none of the others is
    nearer. Otherwise it is called by the nearest whole number.
    """
    draw = 1.0 if tempo else rng.random()
    if draw < 0.08:
        return "techno"
    said = spoken_bpm(round(3000 / bpm), rng) if grid else round(bpm)
    name = str(rng.choice(MANNERS[manner].words)) if rng.random() < 0.85 else "techno"
    if draw < 0.14:
        return name
    parts: list[str] = []
    if tempo or rng.random() < 0.85:
        parts.append(str(rng.choice(TEMPO_FORMS)).format(bpm=said))
    if key and rng.random() < 0.45:
        parts.append(str(rng.choice(KEY_FORMS)).format(key=key))
    picked = rng.permutation(len(tags))[: int(rng.integers(0, 4))]
    words = [tags[int(i)] for i in picked]
    if words and rng.random() < 0.3:  # "dark acid techno at 130 bpm, 303"
        name = f"{words.pop()} {name}"
    rest = parts + words
    if rng.random() < 0.4:
        rest = [rest[int(i)] for i in rng.permutation(len(rest))]
    if rest and rest[0].startswith("at "):
        name, rest = f"{name} {rest[0]}", rest[1:]
    text = ", ".join([name, *rest])
    return text if rng.random() < 0.8 else text.lower()
