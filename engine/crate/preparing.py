"""From a crate to a dataset: ``prepare``. What to do is decided first and without audio; then every track is cut in a process of its own.

::

    findings ─▶ windows ─▶ groups ─▶ split by group ─▶ captions ─▶ what is missing? ─▶ cutting ─▶ manifest

What is there already is never made again: files are named by what decides about their samples, codes lie in a cache beside the crates.
A run that was killed goes on where it was, and a second run only reads. The manifest is written last, as a whole.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from engine.crate import cutting, findings, manifest, pool, splits, windows
from engine.crate.captions import Words, caption
from engine.crate.codes import Target, cache_path
from engine.crate.cutting import CUT_VERSION, Job, Piece, name_of
from engine.crate.disk import alone, digest, link_or_copy, read_json, remove_leftovers, write_json
from engine.crate.findings import Finding
from engine.crate.groups import Groups, Pair, group
from engine.crate.manifest import Preset, Segment
from engine.crate.store import CrateTrack, Unreadable
from engine.crate.windows import Course, Crop, Limits
from engine.errors import EngineError
from engine.music import words
from engine.music.analysis import ANALYSIS_VERSION, Fingerprint
from engine.music.audio import AudioError
from engine.music.loudness import PEAK_DBFS, TARGET_LUFS

Tell = Callable[[str, int, int], None]
FIRST_S, SEGMENT_2023_S = 20.0, 10.0
_OURS = re.compile(r"[0-9a-f]{12}-[0-9a-f]{12}\.(flac|wav|npy)")


@dataclass(frozen=True, slots=True)
class Options:
    """token: the word that asks for this DJ. tags: her own, for every caption.

    segment_s: None is the model's window, and 10 s in 2023, whose two segments a track it shortens alike: for a model with a short window.
    """

    token: str
    preset: Preset = "bars"
    seed: int = 0
    tags: tuple[str, ...] = ()
    segment_s: float | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """What came out. tracks: those that were heard; groups are by their places in it. made: segments that were not there yet."""

    folder: Path
    segments: tuple[Segment, ...]
    tracks: tuple[CrateTrack, ...]
    groups: Groups
    left_out: tuple[Unreadable, ...]
    made: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """A track's segments, before any is cut. sections: the kind of each. number: the track's place."""

    track: CrateTrack
    number: int
    crops: tuple[Crop, ...]
    sections: tuple[str | None, ...]
    gain_db: float


@dataclass(frozen=True, slots=True)
class _Place:
    data: Path
    out: Path
    target: Target
    options: Options


def prepare(
    tracks: Sequence[CrateTrack], data: Path, out: Path, target: Target, options: Options, *, device: str, processes: int, tell: Tell
) -> Prepared:
    """Segments, codes and manifest of ``tracks`` in the folder ``out``. ``data`` is ENGINE_DATA. ``tell``: (what, done, of).

    Raises EngineError where no track gives a segment, or where ``out`` holds something else. A track that can't be read is in the result.
    """
    _require_ours(out)
    with alone(out / ".lock", f"The dataset in {out}"):
        for folder in (out, out / "train", out / "held_out", out / "codes"):
            remove_leftovers(folder)
        heard, left_out = _hear(tracks, data, processes, tell)
        plans: list[_Plan] = []
        for number, track in enumerate(heard):
            plan = _plan(track, number, findings.recall(data, track.sha256, track.word), target, options)
            if plan.crops:
                plans.append(plan)
            else:
                left_out.append(Unreadable(track.path, f"{words.label(track.title)} gives no segment: {_why_none(track, options)}"))
        if not plans:
            raise EngineError("bad_audio", f"No track gives a segment. {left_out[0].message if left_out else 'The crate is empty.'}")
        groups = group_tracks(heard, data)
        held = _held_out(plans, groups, options)
        place = _Place(data, out, target, options)
        rows = {plan.number: _rows(plan, heard[groups.group_of[plan.number]].sha256, held, place) for plan in plans}
        missing = {number: tuple(piece for _segment, piece in found if piece.missing) for number, found in rows.items()}
        jobs = [Job(heard[number], pieces, target, device) for number, pieces in missing.items() if pieces]
        failed = _cut(jobs, processes, tell)
        whole = [row for number, found in rows.items() if heard[number].sha256 not in failed for row in found]
        if not whole:
            raise EngineError("bad_audio", f"Nothing could be cut. {next(iter(failed.values()))}")
        for segment, piece in whole:
            link_or_copy(piece.codes, out / segment.codes)
        segments = tuple(segment for segment, _piece in whole)
        manifest.write(out, segments)
        _remove_others(out, segments)
        left_out += [Unreadable(job.track.path, failed[job.track.sha256]) for job in jobs if job.track.sha256 in failed]
        made = sum(len(job.pieces) for job in jobs if job.track.sha256 not in failed)
        return Prepared(out, segments, tuple(heard), groups, tuple(left_out), made)


def _require_ours(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()) and not (out / ".lock").is_file():
        raise EngineError("bad_request", f"{out} is not empty, and no dataset of ours: choose another folder with --out.")


def _hear(tracks: Sequence[CrateTrack], data: Path, processes: int, tell: Tell) -> tuple[list[CrateTrack], list[Unreadable]]:
    """Tracks of which it is known what they are; what was not heard yet, or by an older analysis, is heard now."""
    silent: dict[str, str] = {}
    unheard = [track for track in tracks if not findings.path_of(data, track.sha256, track.word).is_file()]
    jobs = ((track, data) for track in unheard)
    for done, ((track, _data), problem) in enumerate(pool.work_through(_hear_one, jobs, min(processes, len(unheard))), 1):
        if problem is not None:
            silent[track.sha256] = problem.message if isinstance(problem, pool.Failure) else problem
        tell("listening", done, len(unheard))
    heard = [track for track in tracks if track.sha256 not in silent]
    return heard, [Unreadable(track.path, silent[track.sha256]) for track in tracks if track.sha256 in silent]


def _hear_one(job: tuple[CrateTrack, Path]) -> str | None:
    track, data = job
    try:
        cutting.require_unchanged(track)
        findings.find_out(data, Path(track.path), track.sha256, track.word)
    except AudioError as error:
        return str(error)
    except OSError as error:
        return f"{words.label(track.title)} can't be read ({error.strerror or error}): check the disk."
    return None


def _plan(track: CrateTrack, number: int, finding: Finding | None, target: Target, options: Options) -> _Plan:
    if finding is None:
        return _Plan(track, number, (), (), 0.0)
    analysis = finding.analysis
    hop = target.hop_samples
    if options.preset == "alice-2023":
        length_s = options.segment_s or SEGMENT_2023_S
        limits = Limits(target.window_samples, hop, target.sample_rate)
        crops = windows.first_seconds(analysis.duration_s, limits, segment_s=length_s, first_s=FIRST_S * length_s / SEGMENT_2023_S)
        return _Plan(track, number, crops, (None,) * len(crops), 0.0)
    window = target.window_samples if options.segment_s is None else round(options.segment_s * target.sample_rate / hop) * hop
    limits = Limits(min(window, target.window_samples), hop, target.sample_rate)
    course = Course(analysis.duration_s, finding.bar_lines(), analysis.sections, analysis.silences, finding.clipped)
    crops = () if analysis.lufs is None else windows.plan(course, limits, _random(options.seed, "windows", track.sha256))
    kinds = tuple(windows.section_of(analysis.sections, crop.start / target.sample_rate, crop.end / target.sample_rate) for crop in crops)
    loudness_db = TARGET_LUFS - (analysis.lufs if analysis.lufs is not None else TARGET_LUFS)
    return _Plan(track, number, crops, kinds, round(min(loudness_db, PEAK_DBFS - analysis.peak_dbfs), 2))


def _why_none(track: CrateTrack, options: Options) -> str:
    if track.lufs is None:
        return "it is silent. Take it out of the crate."
    if options.preset == "alice-2023":
        return f"it is only {words.length(track.duration_s)} long."
    return "it is silent or clipped nearly throughout, or too short. Get a better copy."


def group_tracks(tracks: Sequence[CrateTrack], data: Path) -> Groups:
    """Comparing recordings is kept, by everything that decides about it: a large crate has many pairs."""
    decides = [[t.sha256, t.word.digest, t.title, t.artist, t.remixer, t.duration_s, t.bpm] for t in tracks]
    path = data / "findings" / "groups" / f"{digest([ANALYSIS_VERSION, decides])}.json"
    kept = read_json(path)
    if kept is not None:
        return Groups(tuple(kept["group_of"]), tuple(Pair(**pair) for pair in kept["pairs"]))

    def fingerprint(number: int) -> Fingerprint | None:
        finding = findings.recall(data, tracks[number].sha256, tracks[number].word)
        return finding.analysis.fingerprint if finding else None

    found = group(tracks, fingerprint)
    write_json(path, {"group_of": list(found.group_of), "pairs": [asdict(pair) for pair in found.pairs]})
    return found


def _held_out(plans: Sequence[_Plan], groups: Groups, options: Options) -> frozenset[str]:
    """By SHA-256. The experiment held nothing out."""
    if options.preset == "alice-2023":
        return frozenset()
    by_group: dict[int, list[str]] = {}
    for plan in plans:
        by_group.setdefault(groups.group_of[plan.number], []).append(plan.track.sha256)
    return splits.hold_out(list(by_group.values()), options.seed)


def _rows(plan: _Plan, group_sha256: str, held: frozenset[str], place: _Place) -> list[tuple[Segment, Piece]]:
    """The manifest's lines of a track, and the files that they speak of."""
    track, data, out, target, options = plan.track, place.data, place.out, place.target, place.options
    old = options.preset == "alice-2023"
    ending = "wav" if old else "flac"
    rows = []
    for crop, kind in zip(plan.crops, plan.sections, strict=True):
        name = name_of(track.sha256, crop, target, plan.gain_db, ending)
        said = Words(options.token, track.genre, track.bpm, track.key.name if track.key else None, (*track.words, *options.tags), kind)
        segment = Segment(
            id=name,
            track=track.sha256,
            split="held_out" if track.sha256 in held else "train",
            start=crop.start,
            end=crop.end,
            sample_rate=target.sample_rate,
            channels=target.channels,
            frames=-(-(crop.end - crop.start) // target.hop_samples),
            bars=crop.bars,
            caption=f"{options.token} techno" if old else caption(said, _random(options.seed, "caption", name)),
            words=(Words(options.token) if old else said).record(),
            bpm=track.bpm,
            key=track.key.name if track.key else None,
            camelot=track.key.camelot if track.key else None,
            gain_db=plan.gain_db,
            audio=f"{'held_out' if track.sha256 in held else 'train'}/{name}.{ending}",
            codes=f"codes/{name}.npy",
            title=track.title,
            artist=track.artist,
            group=group_sha256,
            preset=options.preset,
            seed=options.seed,
            checkpoint=target.checkpoint,
            codec=target.codec,
            versions={"manifest": manifest.VERSION, "analysis": ANALYSIS_VERSION, "cut": CUT_VERSION},
        )
        piece = Piece(crop, plan.gain_db, out / segment.audio, cache_path(data, target, track.sha256, name))
        other = out / segment.audio.replace("held_out/", "train/") if "held_out/" in segment.audio else out / f"held_out/{name}.{ending}"
        if other.is_file() and not piece.audio.is_file():
            piece.audio.parent.mkdir(exist_ok=True)
            other.rename(piece.audio)  # it changed sides, not its samples
        rows.append((segment, piece))
    return rows


def _cut(jobs: Sequence[Job], processes: int, tell: Tell) -> dict[str, str]:
    """What went wrong, by the track's SHA-256."""
    failed: dict[str, str] = {}
    for done, (job, problem) in enumerate(pool.work_through(cutting.cut, jobs, min(processes, len(jobs))), 1):
        if problem is not None:
            message = problem.message if isinstance(problem, pool.Failure) else problem
            failed[job.track.sha256] = message
        tell("cutting", done, len(jobs))
    return failed


def _remove_others(out: Path, segments: Sequence[Segment]) -> None:
    """Files of an earlier dataset in the same folder that this one no longer speaks of. Only such as carry our names."""
    wanted = {name for segment in segments for name in (segment.audio, segment.codes)}
    for folder in ("train", "held_out", "codes"):
        for file in (out / folder).glob("*"):
            if _OURS.fullmatch(file.name) and f"{folder}/{file.name}" not in wanted:
                file.unlink()


def _random(seed: int, purpose: str, name: str) -> np.random.Generator:
    """The same for the same words, on every machine."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(f"{seed}:{purpose}:{name}".encode()).digest()[:8], "big"))
