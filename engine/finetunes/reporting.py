"""The report card: ``report`` makes clips of base and finetune, compares both with the held-out tracks, and lets the gate judge.

::

    base + finetune ─▶ clips ─▶ heard ─┐
    held-out segments ────────▶ heard ─┼─▶ before · after · real ─▶ gate ─▶ ReportCard, FOLDER/report.json
    training segments ────────▶ heard ─┘                                    FOLDER/files/card.png, 1-before.mp3, 1-after.mp3 …

Both sides are heard by the same ears, against the same tracks. Windows of one held-out track count as one draw of the interval: they
resemble each other. Not here: the picture (``picture``), the verdict's rules (``engine.training.gate``).
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from engine.api.evaluation import Estimate
from engine.api.finetunes import KEPT_CLIPS, ClipFigures, GateCheck, RealFigures, ReportCard, ReportClip, ReportFile
from engine.crate import manifest
from engine.errors import EngineError
from engine.evaluation.distances import Interval, kad_difference, stack
from engine.evaluation.embeddings import Embedder, EmbedderUnavailable, embedder
from engine.evaluation.report import EvaluationError, Heard, Report, compare, hear, of_audio, of_file
from engine.files import write_atomically
from engine.finetunes import clips as clips_of
from engine.finetunes.clips import Clips, Side
from engine.music.encode import Tags, encode
from engine.musicgen.generate import MusicGen
from engine.training.gate import Evidence, Verdict, judge

CARD, FILES = "report.json", "files"
PICTURE = "card.png"
SHORTEST_HEARD_S = 3.0
"""What the embedder needs; a crate's shortest segments are left to the loss."""
KEPT_BYTES = 8 * 2**20
"""Most that a kept clip may have, as MP3."""
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Run:
    """A finished training, as its report card tells it. base: a checkpoint's id. held_out_…: None where nothing was held out."""

    name: str
    base: str
    recipe: str
    token: str | None
    licence: str
    held_out_base: float | None
    held_out: float | None
    tracks: int
    held_out_tracks: int
    segments: int
    held_out_segments: int
    steps: int
    best_step: int
    stopped_early: bool
    train_s: float
    left_out: tuple[str, ...] = field(default=())


def ears() -> Embedder:
    """What hears both sides. Raises EngineError that says what to install: better before a long training than after it."""
    try:
        return embedder("musicnn")
    except EmbedderUnavailable as error:
        raise EngineError("bad_request", str(error)) from error


def report(
    run: Run,
    before: Callable[[], MusicGen],
    after: Callable[[], MusicGen],
    segments: Sequence[tuple[Path, manifest.Segment]],
    folder: Path,
    *,
    clips: Clips,
    listener: Embedder,
    tell: Tell = lambda what, done, of: None,
) -> ReportCard:
    """The card, and its files in ``folder``, where a run that was cut short goes on.

    before, after: load the two sides, one at a time. segments: the dataset's, with the folder of each one's manifest.
    ``tell``: ("clips" or "listening", done, of). Raises EngineError where a file can't be read.
    """
    made: dict[Side, list[Path]] = {}
    sides: tuple[tuple[Side, Callable[[], MusicGen]], ...] = (("before", before), ("after", after))
    for number, (side, load) in enumerate(sides):
        tell("clips", number * clips.number, 2 * clips.number)
        if any(not clips.path(folder, side, index).is_file() for index in range(clips.number)):
            model = load()
            made[side] = clips.make(model, folder, side, lambda done, n=number: tell("clips", n * clips.number + done, 2 * clips.number))  # type: ignore[misc]
            del model
            gc.collect()  # the other side needs the room
        else:
            made[side] = [clips.path(folder, side, index) for index in range(clips.number)]
    tell("clips", 2 * clips.number, 2 * clips.number)
    figures = _figures(made, segments, listener, clips.seed, tell)
    verdict = _verdict(run, figures)
    files = folder / FILES
    kept = [_kept(run, made, files, clips, index) for index in range(min(KEPT_CLIPS, clips.number))]
    card = _card(run, figures, verdict, clips, kept)
    from engine.finetunes.picture import draw

    picture = _put(files / PICTURE, draw(card, run.name), "image/png")
    card = card.model_copy(update={"picture": picture})
    write_atomically(folder / CARD, lambda path: path.write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8"))
    return card


# ---- hearing


@dataclass(frozen=True, slots=True)
class _Figures:
    """before, after: None where nothing is held out that they could be compared with. kad_change: below 0, the finetune is nearer."""

    before: Report | None = None
    after: Report | None = None
    kad_change: Interval | None = None
    notes: tuple[str, ...] = ()


def _figures(
    made: dict[Side, list[Path]], segments: Sequence[tuple[Path, manifest.Segment]], listener: Embedder, seed: int, tell: Tell
) -> _Figures:
    segments = [(folder, segment) for folder, segment in segments if segment.duration_s >= SHORTEST_HEARD_S]
    held = [(folder / segment.audio, segment.track) for folder, segment in segments if segment.split == "held_out"]
    if len(held) < 2:
        return _Figures(notes=("Too little is held out that clips could be compared with.",))
    train = [(folder / segment.audio, segment.track) for folder, segment in segments if segment.split == "train"]
    total = sum(map(len, made.values())) + len(held) + len(train)
    done = 0

    def heard() -> None:
        nonlocal done
        done += 1
        tell("listening", done, total)

    try:
        sides = {side: [hear(of_audio(path.name, clips_of.read(path)), listener, heard) for path in paths] for side, paths in made.items()}
        typical_s = float(np.median([clip.duration_s for clip in sides["before"]]))
        real = [(hear(of_file(path), listener, heard, excerpt_s=typical_s), track) for path, track in held]
        trained = [hear(of_file(path), listener, heard, excerpt_s=0.0) for path, _track in train]
        tracks = {track for _heard, track in real}
        reference = _by_track(real) if len(tracks) > 1 else [one for one, _track in real]
        few = "Only one track is held out" if len(tracks) == 1 else "Only two tracks are held out"
        notes = [f"{few}: take the figures as hints."] if len(tracks) < 3 else []
        before, after = (compare(reference, sides[side], trained, embedder=listener, seed=seed) for side in ("before", "after"))
        change = _kad_change(reference, sides, seed)
    except (EvaluationError, ValueError) as error:
        raise EngineError("bad_audio", f"Base and finetune can't be compared: {error}") from error
    return _Figures(before, after, change, tuple(dict.fromkeys((*notes, *after.notes))))


def _kad_change(reference: Sequence[Heard], sides: dict[Side, list[Heard]], seed: int) -> Interval:
    """Both sides against the same draws of tracks: sharper than two intervals beside each other."""
    (real, tracks), (after, of_after), (before, of_before) = (
        stack([one.embeddings for one in heard]) for heard in (reference, sides["after"], sides["before"])
    )
    return kad_difference(real, after, before, reference_clips=tracks, one_clips=of_after, other_clips=of_before, seed=seed)


def _by_track(heard: Iterable[tuple[Heard, str]]) -> list[Heard]:
    """What was heard in a track's segments, as one."""
    tracks: dict[str, list[Heard]] = {}
    for one, track in heard:
        tracks.setdefault(track, []).append(one)
    return [
        Heard(
            track,
            sum(one.duration_s for one in parts),
            np.concatenate([one.embeddings for one in parts]),
            None if any(one.tags is None for one in parts) else np.concatenate([one.tags for one in parts if one.tags is not None]),
            tuple(check for one in parts for check in one.checks),
        )
        for track, parts in tracks.items()
    ]


# ---- judging


def _verdict(run: Run, figures: _Figures) -> Verdict | None:
    """None where there is nothing to judge by."""
    before, after = figures.before, figures.after
    if before is None or after is None or run.held_out is None or run.held_out_base is None:
        return None
    return judge(
        Evidence(
            held_out=run.held_out,
            base_held_out=run.held_out_base,
            kad=after.kad,
            base_kad=before.kad,
            near_copies=after.copies.share if after.copies else 0.0,
            real_near_copies=after.copies.real_share if after.copies else 0.0,
            silent=after.checks.silent,
            base_silent=before.checks.silent,
            collapsed=after.checks.collapsed,
            base_collapsed=before.checks.collapsed,
            training_tracks=run.tracks,
            clips=after.candidate.files,
            real_excerpts=after.copies.real_excerpts if after.copies else 0,
            kad_change=figures.kad_change,
            ran_out=not run.stopped_early and run.best_step == run.steps,
        )
    )


def _card(run: Run, figures: _Figures, verdict: Verdict | None, clips: Clips, kept: list[ReportClip]) -> ReportCard:
    gate: Literal["passed", "failed"] | None = None if verdict is None else "passed" if verdict.passed else "failed"
    unjudged, real = _unjudged(run), figures.after
    return ReportCard(
        gate=gate,
        words=verdict.words if verdict else f"{unjudged.why}, so nobody knows whether it is better than {run.base}.",
        checks=[GateCheck(name=check.name, passed=check.passed, words=check.words) for check in verdict.checks] if verdict else [],
        advice=list(verdict.advice) if verdict else [unjudged.advice],
        base=run.base,
        recipe=run.recipe,
        token=run.token,
        held_out_base=run.held_out_base,
        held_out=run.held_out,
        before=_side(figures.before),
        after=_side(figures.after),
        kad_change=_estimate(figures.kad_change) if figures.kad_change else None,
        real=None
        if real is None
        else RealFigures(
            kad=_estimate(real.real_kad) if real.real_kad else None,
            near_copies=real.copies.real_share if real.copies else 0.0,
            silent=real.real_checks.silent,
            clipped=real.real_checks.clipped,
            collapsed=real.real_checks.collapsed,
        ),
        clips_compared=0 if figures.after is None else clips.number,
        clips=kept,
        tracks=run.tracks,
        held_out_tracks=run.held_out_tracks,
        segments=run.segments,
        held_out_segments=run.held_out_segments,
        steps=run.steps,
        best_step=run.best_step,
        stopped_early=run.stopped_early,
        train_s=round(run.train_s, 1),
        left_out=list(run.left_out),
        notes=list(figures.notes),
        picture=None,
    )


@dataclass(frozen=True, slots=True)
class _Unjudged:
    """Why there is no verdict, and what would help."""

    why: str
    advice: str


def _unjudged(run: Run) -> _Unjudged:
    if not run.held_out_tracks:
        return _Unjudged("Nothing was held out", "Hold tracks out: prepare the crate with the preset 'bars'.")
    least = f"at least two segments of {SHORTEST_HEARD_S:.0f} s from tracks that are held out"
    return _Unjudged("Too little was held out to compare clips with", f"Add tracks, or longer ones: {least} are needed.")


def _side(found: Report | None) -> ClipFigures | None:
    if found is None:
        return None
    return ClipFigures(
        fad=found.fad,
        kad=_estimate(found.kad),
        kl=found.kl,
        near_copies=found.copies.share if found.copies else 0.0,
        silent=found.checks.silent,
        clipped=found.checks.clipped,
        collapsed=found.checks.collapsed,
    )


def _estimate(interval: Interval) -> Estimate:
    return Estimate(value=interval.value, low=interval.low, high=interval.high, confidence=interval.confidence)


# ---- files


def _kept(run: Run, made: dict[Side, list[Path]], files: Path, clips: Clips, index: int) -> ReportClip:
    audio = {side: clips_of.read(paths[index]) for side, paths in made.items()}
    tags = Tags(prompt=clips.prompt, seed=clips.seed + index, licence=run.licence)

    def mp3(side: Side, checkpoint: str) -> ReportFile:
        named = replace(tags, title=f"{run.name}, {side} {index + 1}", checkpoint=checkpoint)
        encoded = encode(audio[side], "mp3", max_bytes=KEPT_BYTES, tags=named)
        return _put(files / f"{index + 1}-{side}.{encoded.extension}", encoded.data, encoded.media_type)

    return ReportClip(
        prompt=clips.prompt,
        seed=clips.seed + index,
        duration_s=round(audio["after"].duration_s, 3),
        before=mp3("before", run.base),
        after=mp3("after", run.name),
    )


def _put(path: Path, data: bytes, media_type: str) -> ReportFile:
    write_atomically(path, lambda temporary: temporary.write_bytes(data))
    return ReportFile(
        name=path.name,
        sha256=hashlib.sha256(data).hexdigest(),
        media_type=media_type,
        extension=path.suffix[1:],
        size_bytes=len(data),
    )
