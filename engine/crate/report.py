"""What a crate is worth as a dataset, and what would make it better: ``build``. Pure but for the picture, which is drawn when asked for.

Every finding comes with what to do about it. Not here: the page (``report_page``), the picture (``report_picture``), what is done with them
(``dataset``, and the server for Discord).
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.crate import splits
from engine.crate.groups import Groups, group
from engine.crate.store import CrateTrack
from engine.music import words
from engine.music.analysis import Fingerprint, Key, TrackAnalysis

FEWEST_TRACKS, GOOD_TRACKS = 15, 40
SHORT_S = 60.0
QUIET_LUFS = -24.0
_FEW_S = 3600.0
_SILENT_SHARE = 0.1
_CLIPPED_SHARE = 0.001
_TEMPO_SHARE = 0.08
"""How far from the middle tempo a DJ can pull a track without it sounding wrong."""
_NAMED = 4


@dataclass(frozen=True, slots=True)
class Line:
    """What a report needs to know of a track. sources: who said 'bpm' and 'key'. levels, kinds: its course, as in CrateTrack."""

    sha256: str
    title: str
    artist: str | None
    duration_s: float
    bpm: float | None
    steady: bool
    key: Key | None
    lufs: float | None
    clipped_share: float = 0.0
    silent_s: float = 0.0
    remixer: str | None = None
    levels: str = ""
    kinds: str = ""
    bpm_from: str = "detected"
    key_from: str = "detected"

    @property
    def name(self) -> str:
        return f"{self.artist} – {self.title}" if self.artist else self.title


def line_of(sha256: str, title: str | None, artist: str | None, analysis: TrackAnalysis) -> Line:
    """Of an uploaded track: a hash, what its tags say, and what was heard."""
    grid, key = analysis.grid, analysis.key
    return Line(
        sha256=sha256,
        title=title or f"track {sha256[:8]}",
        artist=artist,
        duration_s=analysis.duration_s,
        bpm=grid.bpm if grid else None,
        steady=grid.steady if grid else False,
        key=key,
        lufs=analysis.lufs,
        clipped_share=analysis.clipped_share,
        silent_s=sum(end - start for start, end in analysis.silences),
        bpm_from=grid.source if grid else "",
        key_from=key.source if key else "",
    )


def line_in(track: CrateTrack) -> Line:
    """Of a track in a crate on this machine."""
    return Line(
        track.sha256,
        track.title,
        track.artist,
        track.duration_s,
        track.bpm,
        track.steady,
        track.key,
        track.lufs,
        track.clipped_share,
        track.silent_s,
        track.remixer,
        track.levels,
        track.kinds,
        track.sources.get("bpm", ""),
        track.sources.get("key", ""),
    )


@dataclass(frozen=True, slots=True)
class Cut:
    """A segment of a prepared dataset, for the page."""

    start_s: float
    end_s: float
    held_out: bool


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """What preparing made of the crate. cuts: by the track's SHA-256. captions: a few, to look at."""

    preset: str
    checkpoint: str
    segments: int
    train_s: float
    held_out_s: float
    held_out_tracks: int
    cuts: dict[str, list[Cut]]
    captions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """text: for a terminal or a message. advice: a sentence each, the weightiest first. png: drawn at the first look."""

    name: str
    lines: tuple[Line, ...]
    groups: Groups
    advice: tuple[str, ...]
    text: str
    dataset: DatasetFacts | None = field(default=None)

    @functools.cached_property
    def png(self) -> bytes:
        """1000 × 620 px, dark, for a chat."""
        from engine.crate.report_picture import draw

        return draw(self)


def build(
    tracks: Sequence[Line],
    *,
    name: str = "This crate",
    fingerprint: Callable[[int], Fingerprint | None] | None = None,
    groups: Groups | None = None,
    unreadable: Sequence[str] = (),
    dataset: DatasetFacts | None = None,
    uploaded: bool = False,
) -> Report:
    """The report on ``tracks``. ``fingerprint`` of a track by number finds copies; or ``groups``, where they are known already.

    ``uploaded``: they came one by one, not from a DJ's software, which advice therefore doesn't send her back to.
    """
    lines = tuple(tracks)
    groups = groups if groups is not None else group(lines, fingerprint or (lambda _number: None))
    advice = tuple(_advice(lines, groups, unreadable, uploaded))
    return Report(name, lines, groups, advice, _text(name, lines, groups, advice, dataset), dataset)


def _advice(lines: Sequence[Line], groups: Groups, unreadable: Sequence[str], uploaded: bool) -> list[str]:
    found: list[str] = []
    count, total_s = len(lines), sum(line.duration_s for line in lines)
    distinct = count - len(groups.copies())
    if distinct < FEWEST_TRACKS:
        found.append(
            f"{distinct} different {'track is' if distinct == 1 else 'tracks are'} too few: a model learns them by heart, "
            f"and {splits.wanted(max(1, distinct))} held out say little. Add {FEWEST_TRACKS - distinct} or more."
        )
    elif distinct < GOOD_TRACKS:
        found.append(f"{distinct} different tracks do; with {GOOD_TRACKS} or more a finetune is more often better than its base.")
    if 0 < total_s < _FEW_S and distinct >= FEWEST_TRACKS:
        found.append(f"Only {words.length(total_s)} of music: use whole tracks rather than excerpts.")
    if unreadable:
        found.append(f"{len(unreadable)} {_files(len(unreadable))} could not be read: {unreadable[0]}")
    copies = groups.copies()
    if copies:
        named = [(_name(lines[copy]), _name(lines[first])) for copy, first in sorted(copies.items())[:_NAMED]]
        pairs = [f"{copy} is {first}" if copy != first else f"{copy}, in two files" for copy, first in named]
        rest = f", and {len(copies) - _NAMED} more" if len(copies) > _NAMED else ""
        found.append(f"The same recording twice ({'; '.join(pairs)}{rest}): it counts double. Keep the better copy.")
    found += _about_sound(lines)
    found += _about_tempo(lines, uploaded)
    return found


def _about_sound(lines: Sequence[Line]) -> list[str]:
    """Short, silent, clipped, quiet."""
    found: list[str] = []

    def say(affected: list[Line], what: str, do: str) -> None:
        if affected:
            found.append(f"{_listed(affected)} {'is' if len(affected) == 1 else 'are'} {what}. {do}")

    say([line for line in lines if line.lufs is None], "silent", "Remove it, or copy it again.")
    say([line for line in lines if line.duration_s < SHORT_S], f"shorter than {words.length(SHORT_S)}", "Use the whole track.")
    clipped = [line for line in lines if line.clipped_share > _CLIPPED_SHARE]
    say(clipped, "clipped", "What is clipped all through is left out; a lossless copy from the shop is better.")
    silent = [line for line in lines if line.lufs is not None and line.silent_s > _SILENT_SHARE * line.duration_s]
    say(silent, "silent for more than a tenth", "Silence is left out; check that the file is whole.")
    quiet = [line for line in lines if line.lufs is not None and line.lufs < QUIET_LUFS]
    say(quiet, f"quieter than {-QUIET_LUFS:.0f} LUFS below full scale", "A recording of a room or a needle? Noise is raised with it.")
    return found


def _about_tempo(lines: Sequence[Line], uploaded: bool) -> list[str]:
    found: list[str] = []
    lost = [line for line in lines if line.bpm is None and line.lufs is not None]
    if lost:
        do = "Take it out unless it is meant to have none." if uploaded else "Set its grid in rekordbox, and import the stick again."
        found.append(f"No beat was found in {_listed(lost)}: cut without bars. {do}")
    drifting = [line for line in lines if line.bpm is not None and not line.steady]
    if drifting:
        do = "A release with a steady tempo is better." if uploaded else "Check the grid in rekordbox, and import again."
        found.append(f"The tempo of {_listed(drifting)} is not steady: bars may be off. {do}")
    tempos = [line.bpm for line in lines if line.bpm is not None]
    if len(tempos) >= FEWEST_TRACKS:
        middle = float(np.median(tempos))
        apart = sum(abs(bpm / middle - 1) > _TEMPO_SHARE for bpm in tempos)
        if apart > len(tempos) / 3:
            between = f"{min(tempos):.0f} to {max(tempos):.0f} BPM"
            found.append(f"Tempos lie far apart ({between}): say the tempo in prompts, or make a crate for each style.")
    return found


def _text(name: str, lines: Sequence[Line], groups: Groups, advice: Sequence[str], dataset: DatasetFacts | None) -> str:
    total_s = sum(line.duration_s for line in lines)
    parts = [f"{name}: {len(lines)} tracks, {words.length(total_s)}"]
    tempos = sorted(line.bpm for line in lines if line.bpm is not None)
    if tempos:
        low, middle, high = np.percentile(tempos, [25, 50, 75])
        half = "" if len(tempos) < 4 else f", half of them {low:.0f} to {high:.0f}"
        parts.append(f"tempo     {_range(tempos[0], tempos[-1])} BPM{half}; middle {middle:.1f}")
    keys = Counter(line.key.camelot for line in lines if line.key)
    if keys:
        shown = " · ".join(f"{camelot} {count}" for camelot, count in keys.most_common(6))
        parts.append(f"keys      {shown}" + (f" · {len(keys) - 6} others" if len(keys) > 6 else ""))
    loud = sorted(line.lufs for line in lines if line.lufs is not None)
    if loud:
        parts.append(f"loudness  {_range(loud[0], loud[-1])} LUFS".replace("-", "−"))
    lengths = sorted(line.duration_s for line in lines)
    if lengths:
        parts.append(f"length    {words.length(lengths[0])} to {words.length(lengths[-1])}")
    said = Counter(line.bpm_from for line in lines if line.bpm_from)
    if said:
        parts.append("said by   " + ", ".join(f"{who} {count}" for who, count in said.most_common()) + " (tempo)")
    together = [members for members in groups.members() if len(members) > 1]
    if together:
        names = "; ".join(" = ".join(_name(lines[n]) for n in members[:3]) for members in together[:_NAMED])
        stay = "1 group of copies or remixes stays" if len(together) == 1 else f"{len(together)} groups of copies or remixes stay"
        parts.append(f"together  {stay} on one side: {names}")
    if dataset is not None:
        parts.append(
            f"dataset   {dataset.segments} segments ({dataset.preset}): {words.length(dataset.train_s)} to train on, "
            f"{words.length(dataset.held_out_s)} of {dataset.held_out_tracks} tracks held out"
        )
    if advice:
        parts += ["", "What would help:", *(f"  {number}. {sentence}" for number, sentence in enumerate(advice, 1))]
    return "\n".join(parts)


def _range(low: float, high: float) -> str:
    return f"{low:.0f} to {high:.0f}" if round(low) != round(high) else f"{low:.0f}"


def _files(number: int) -> str:
    return "file" if number == 1 else "files"


def _name(line: Line) -> str:
    return words.tidy(line.name, 48) or line.sha256[:8]


def _listed(lines: Sequence[Line]) -> str:
    shown = [_name(line) for line in lines[:_NAMED]]
    rest = f" and {len(lines) - _NAMED} more" if len(lines) > _NAMED else ""
    return ", ".join(shown) + rest
