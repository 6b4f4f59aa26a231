"""Which tracks belong together: the same file, the same recording, a remix of it. Pure but for the fingerprints that it is handed.

    same file        SHA-256                                    one of them is enough
    same recording   chroma fingerprint, same length and tempo  one of them is enough (a re-encode, another shop's rip)
    same title       "(X Remix)" taken off, a name in common    both are wanted, on the same side of the split: they share their music

A remix that is heard while training and then counted as unseen makes a finetune look better than it is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from engine.music.analysis import SAME, Fingerprint, same_recording

_LENGTHS_APART_S = 12.0
_TEMPOS_APART = 0.01
_BRACKETS = re.compile(r"\(([^()]*)\)|\[([^\[\]]*)\]")
_VERSION = re.compile(
    r"\b(remix|re-?mix|rmx|mix|edit|version|dub|rework|re-?work|bootleg|refix|vip|remaster(?:ed)?|instrumental|live|original|extended|radio|club)\b"
)
_FEATURING = re.compile(r"\b(?:feat|ft|featuring)\b\.?.*")
_AND = re.compile(r"\s*(?:,|&|\+|;|/|\bx\b|\bvs\.?\b|\bfeat\.?\b|\bft\.?\b|\bfeaturing\b|\band\b|\bpres\.?\b)\s*")


class Named(Protocol):
    """What must be known of a track to say what it belongs with: a CrateTrack, or a report's Line."""

    @property
    def title(self) -> str: ...
    @property
    def artist(self) -> str | None: ...
    @property
    def remixer(self) -> str | None: ...
    @property
    def duration_s(self) -> float: ...
    @property
    def bpm(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Pair:
    """Two tracks by number, and why they belong together. sameness: 0 to 1, of recordings."""

    a: int
    b: int
    why: Literal["recording", "title"]
    sameness: float = 1.0


@dataclass(frozen=True, slots=True)
class Groups:
    """group_of[n]: the group of track n; groups are numbered by their first track. pairs: why."""

    group_of: tuple[int, ...]
    pairs: tuple[Pair, ...]

    def members(self) -> list[list[int]]:
        """The tracks of each group, groups by their first track."""
        found: dict[int, list[int]] = {}
        for number, group in enumerate(self.group_of):
            found.setdefault(group, []).append(number)
        return list(found.values())

    def copies(self) -> dict[int, int]:
        """track → the earlier track that it repeats."""
        return {max(pair.a, pair.b): min(pair.a, pair.b) for pair in self.pairs if pair.why == "recording"}


def group(tracks: Sequence[Named], fingerprint: Callable[[int], Fingerprint | None]) -> Groups:
    """``fingerprint`` of a track by number, asked for only where two are of about the same length."""
    parent = list(range(len(tracks)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    pairs = [*_same_titles(tracks), *_same_recordings(tracks, fingerprint)]
    for pair in pairs:
        a, b = sorted((root(pair.a), root(pair.b)))
        parent[b] = a
    return Groups(tuple(root(number) for number in range(len(tracks))), tuple(pairs))


def _same_recordings(tracks: Sequence[Named], fingerprint: Callable[[int], Fingerprint | None]) -> Iterable[Pair]:
    by_length = sorted(range(len(tracks)), key=lambda number: tracks[number].duration_s)
    held: dict[int, Fingerprint | None] = {}
    for place, a in enumerate(by_length):
        longest_s = tracks[a].duration_s + _LENGTHS_APART_S
        for b in by_length[place + 1 :]:
            if tracks[b].duration_s > longest_s:
                break
            if not _tempos_agree(tracks[a].bpm, tracks[b].bpm):
                continue  # most pairs of a large crate: comparing fingerprints costs a thousand times more
            for number in (a, b):
                if number not in held:
                    held[number] = fingerprint(number)
            ours, theirs = held[a], held[b]
            if ours is not None and theirs is not None and (sameness := same_recording(ours, theirs)) >= SAME:
                yield Pair(min(a, b), max(a, b), "recording", sameness)
        held.pop(a, None)


def _tempos_agree(a: float | None, b: float | None) -> bool:
    """Octaves count as equal: who said so may have counted otherwise."""
    return a is None or b is None or any(abs(a * factor / b - 1.0) <= _TEMPOS_APART for factor in (0.5, 1.0, 2.0))


def _same_titles(tracks: Sequence[Named]) -> Iterable[Pair]:
    by_title: dict[str, list[int]] = {}
    for number, track in enumerate(tracks):
        by_title.setdefault(base_title(track.title), []).append(number)
    for title, numbers in by_title.items():
        if not title:
            continue
        people = [names(tracks[number]) for number in numbers]
        for place, a in enumerate(numbers):
            for other in range(place + 1, len(numbers)):
                if not people[place] or not people[other] or people[place] & people[other]:
                    yield Pair(a, numbers[other], "title")


def base_title(title: str) -> str:
    """'Älpha (Beta Remix) [HTN004]' and 'alpha - Extended Mix' are both 'alpha'. Empty where nothing is left."""
    text = _fold(title)
    text = _BRACKETS.sub(" ", text)
    head, dash, tail = text.rpartition(" - ")
    if dash and _VERSION.search(tail):
        text = head
    return " ".join(re.findall(r"\w+", _FEATURING.sub("", text)))


def names(track: Named) -> frozenset[str]:
    """Everybody who is named as an artist or remixer, also in the title's brackets."""
    texts = [track.artist or "", track.remixer or ""]
    texts += [_VERSION.sub(" ", found[1] or found[2] or "") for found in _BRACKETS.finditer(_fold(track.title))]
    every = (" ".join(re.findall(r"\w+", name)) for text in texts for name in _AND.split(_fold(text)))
    return frozenset(name for name in every if name)


def _fold(text: str) -> str:
    """Lower case, without accents."""
    return "".join(letter for letter in unicodedata.normalize("NFKD", text).casefold() if not unicodedata.combining(letter))
