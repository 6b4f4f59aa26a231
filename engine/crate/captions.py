"""The words for a segment: token, genre, tempo, key and tags, in an order and a choice that vary from segment to segment. Pure.

One caption for all teaches both branches of guidance the same thing, and guidance then amplifies noise. So words vary; the token always
stands first, since it is what the DJ's sound will be asked for by. Seed and segment decide: the same dataset comes out twice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_TEMPO = ("{bpm} bpm", "{bpm} BPM", "at {bpm} bpm", "tempo {bpm}")
_KEY = ("{key}", "in {key}", "key of {key}")
_SECTION = {"breakdown": ("breakdown", "break"), "build": ("build-up",), "drop": ("drop",), "intro": ("intro",), "outro": ("outro",)}
_SUBGENRES = re.compile(r"^(.*?)\s*[(\[](.*)[)\]]\s*$")
_PLAIN = "techno"
_TAGS = 3


@dataclass(frozen=True, slots=True)
class Words:
    """What is known of a segment. genre: the DJ's, as written. tags: hers, and what kind of section it is."""

    token: str
    genre: str | None = None
    bpm: float | None = None
    key: str | None = None
    tags: tuple[str, ...] = ()
    section: str | None = None

    def record(self) -> dict[str, object]:
        """For JSON."""
        return {
            "token": self.token,
            "genre": self.genre,
            "bpm": self.bpm,
            "key": self.key,
            "tags": list(self.tags),
            "section": self.section,
        }


def caption(words: Words, rng: np.random.Generator) -> str:
    """'Alice_hash, peak time techno, at 132 bpm, A minor, dark' and its like."""
    genres = spoken_genres(words.genre)
    name = str(genres[int(rng.integers(len(genres)))]) if rng.random() < 0.85 else _PLAIN
    rest: list[str] = []
    if words.bpm and rng.random() < 0.8:
        rest.append(_pick(_TEMPO, rng).format(bpm=round(words.bpm)))
    if words.key and rng.random() < 0.6:
        rest.append(_pick(_KEY, rng).format(key=words.key))
    if words.section in _SECTION and rng.random() < 0.7:
        rest.append(_pick(_SECTION[words.section], rng))
    tags = list(dict.fromkeys(tag.lower() for tag in words.tags))
    rest += [tags[int(i)] for i in rng.permutation(len(tags))[: int(rng.integers(0, _TAGS + 1))]]
    if rng.random() < 0.5:
        rest = [rest[int(i)] for i in rng.permutation(len(rest))]
    return ", ".join(part for part in (words.token, name, *rest) if part)


def spoken_genres(genre: str | None) -> tuple[str, ...]:
    """How a person would say what shops write: 'Techno (Peak Time / Driving)' is 'peak time techno' or 'driving techno'."""
    written = " ".join((genre or "").lower().replace(";", "/").split())
    if not written:
        return (_PLAIN,)
    found = _SUBGENRES.match(written)
    if found and found[1]:
        inner = [part.strip() for part in found[2].split("/") if part.strip()]
        return tuple(f"{part} {found[1]}" for part in inner) or (found[1],)
    return tuple(part.strip() for part in written.split("/") if part.strip()) or (_PLAIN,)


def token_for(crate: str) -> str:
    """The rare word that asks for this DJ's sound: 'alice' gives 'Alice_hash', as the experiment did."""
    return f"{crate[:1].upper()}{re.sub(r'[^A-Za-z0-9]', '', crate[1:])}_hash"


def _pick(choices: Sequence[str], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]
