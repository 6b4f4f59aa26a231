"""From a job's tracks to the segments that it learns and is judged by: ``prepare``. By the crate's own listening, splitting and cutting.

Recipe alice-2023 learns what the experiment learned, the first seconds of each track, but of the tracks that are not held out: only so
can its report card be compared with another's. Not here: how tracks are cut (``engine.crate``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.api import CrateTrack as NamedTrack
from engine.crate import importing, manifest, pool, preparing
from engine.crate.store import CrateTrack
from engine.errors import EngineError
from engine.finetunes.jobs import LEAST_TRACKS
from engine.finetunes.work import Work
from engine.music import words


@dataclass(frozen=True, slots=True)
class Data:
    """Datasets' folders; ``old`` is of recipe alice-2023 alone. left_out: tracks that could not be used, in words."""

    bars: Path
    old: Path | None
    left_out: tuple[str, ...]

    def segments(self) -> list[tuple[Path, manifest.Segment]]:
        """With the folder of each. Held-out ones are cut on bars whatever the recipe; training ones are those that it learned."""
        lines = [(self.bars, line) for line in manifest.read(self.bars)]
        if self.old is None:
            return lines
        return [(self.old, line) for line in manifest.read(self.old)] + [pair for pair in lines if pair[1].split == "held_out"]


def prepare(work: Work) -> Data:
    """Raises EngineError where too few tracks can be used, or none can be held out; the message names tracks."""
    tracks, problems = _tracks(work)
    if len(tracks) < LEAST_TRACKS:
        why = f" {problems[0]}" if problems else ""
        raise EngineError(
            "bad_audio" if problems else "bad_request",
            f"Only {len(tracks)} of {len(work.request.tracks)} tracks can be used, and {LEAST_TRACKS} are the least.{why}",
        )
    target = work.target
    work.require_room(round(sum(track.duration_s for track in tracks) * target.sample_rate * target.channels * 2))
    bars = _cut(work, tracks, "bars")
    problems += [problem.message for problem in bars.left_out]
    if not any(line.split == "held_out" for line in bars.segments):
        raise EngineError("bad_request", "All tracks are versions of one recording, so none can be held out: add other tracks.")
    old: Path | None = None
    if work.request.recipe == "alice-2023":
        learned = {line.track for line in bars.segments if line.split == "train"}
        old = _cut(work, [track for track in tracks if track.sha256 in learned], "alice-2023").folder
    return Data(bars.folder, old, tuple(dict.fromkeys(problems)))


def _tracks(work: Work) -> tuple[list[CrateTrack], list[str]]:
    """As a crate has them, and what is wrong with those that can't be used."""
    wanted = {work.job.track(track.sha256): track for track in work.request.tracks}
    problems = [f"{_name(track)} was deleted by its owner." for path, track in wanted.items() if not path.is_file()]
    place = importing.Place(work.settings.data, None)
    jobs = [(importing.Source(path), place) for path in wanted if path.is_file()]
    found: dict[Path, CrateTrack] = {}
    for number, ((source, _place), result) in enumerate(pool.work_through(importing.examine, jobs, min(work.processes, len(jobs))), 1):
        track = wanted[source.path]
        if not isinstance(result, CrateTrack):
            problems.append(_told(result.message, source.path, track))
        elif result.sha256 != track.sha256:
            problems.append(f"{_name(track)} is damaged on the engine's disk: upload it again.")
        else:
            title, artist = (words.tidy(text) if text else None for text in (track.title, track.artist))
            genre = result.genre or work.request.genre
            found[source.path] = replace(result, title=title or result.title, artist=artist or result.artist, genre=genre)
        work.tell({"event": "preparing", "what": "listening", "done": number, "of": len(jobs)})
        work.go_on()
    return [found[path] for path in wanted if path in found], problems


def _cut(work: Work, tracks: Sequence[CrateTrack], preset: manifest.Preset) -> preparing.Prepared:
    def tell(what: str, done: int, of: int) -> None:
        work.tell({"event": "preparing", "what": what, "done": done, "of": of})
        work.go_on()

    target = work.target
    third_s = target.window_samples / target.sample_rate / 3 if preset == "alice-2023" else None  # its 10 of 30 s
    options = preparing.Options(work.request.token, preset, work.request.seed, segment_s=third_s)
    folder = work.folder / preset
    return preparing.prepare(tracks, work.settings.data, folder, target, options, device="cpu", processes=work.processes, tell=tell)


def _name(track: NamedTrack) -> str:
    return f"“{words.tidy(' – '.join(part for part in (track.artist, track.title) if part), 60) or track.sha256[:12] + '…'}”"


def _told(message: str, path: Path, track: NamedTrack) -> str:
    """What is wrong with a file, by the name that its owner knows."""
    label = words.label(path.name)
    return message.replace(label, _name(track)) if label in message else f"{_name(track)}: {message}"
