"""Two sets of audio, or three, become one report. ``evaluate`` gives all of it or raises an error that names the file it is about.

::

    reference  held-out real tracks ─┐
    candidate  generated clips      ─┼─▶ decode, embed, check, each file once ─▶ FAD · KAD · KL · near-copies · checks ─▶ Report
    training   (for near-copies)    ─┘

Not here: the command (engine/cli/evaluate.py), whether the figures are good enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.api import MAX_TRACK_BYTES
from engine.evaluation import copies, distances
from engine.evaluation.checks import Checks, Rates, check, rates
from engine.evaluation.embeddings import Embedder, Tagger, TextEmbedder
from engine.music.audio import Audio, AudioError, decode, probe

PIECE_S = 300.0
"""Longer tracks are heard so many seconds at a time."""
EXCERPTS_A_TRACK = 4
"""Of a real track so many excerpts, each as long as a clip, are checked for silence, clipping and loops."""
LEAST_FILES, FEW_FILES = 3, 10
ENDINGS = frozenset({".mp3", ".wav", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".wma", ".mp4"})


class EvaluationError(ValueError):
    """No report can be given. The message names the file or the set, and says what to do."""


@dataclass(frozen=True, slots=True)
class Sound:
    """One file or clip. ``pieces`` gives its audio, in order, when it is its turn; it may raise AudioError or OSError."""

    name: str
    pieces: Callable[[], Iterator[Audio]]


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What was heard in one of them. tags: [windows, tags] where the embedder names any."""

    name: str
    duration_s: float
    embeddings: NDArray[np.float32]
    tags: NDArray[np.float32] | None
    checks: tuple[Checks, ...]


@dataclass(frozen=True, slots=True)
class Extent:
    """How much was compared."""

    files: int
    windows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Copied:
    """Near-copies of training tracks: in the clips, and, as the measure of what is normal, in the reference."""

    share: float
    real_share: float
    threshold: float
    clips: int
    real_excerpts: int
    worst: tuple[tuple[str, float], ...]
    """The clips past the threshold, the most suspicious first, with their likeness."""


@dataclass(frozen=True, slots=True)
class Report:
    """Smaller is nearer for fad, kad and kl. ``real_kad`` is what two halves of the reference are apart: nothing real is nearer."""

    embedder: str
    reference: Extent
    candidate: Extent
    windows_compared: int
    fad: float
    kad: distances.Interval
    real_kad: distances.Interval | None
    kl: float | None
    text_agreement: float | None
    copies: Copied | None
    checks: Rates
    real_checks: Rates
    seed: int
    notes: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def evaluate(
    reference: Sequence[Sound],
    candidate: Sequence[Sound],
    training: Sequence[Sound] = (),
    *,
    embedder: Embedder,
    prompt: str | None = None,
    seed: int = 0,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> Report:
    """Every file is read before anything is computed. ``prompt``: what the clips were asked to be, for an embedder that reads text.

    ``tell`` hears how many files are done, and of how many. Raises EvaluationError.
    """
    for what, sounds in (("reference", reference), ("candidate", candidate)):
        if len(sounds) < LEAST_FILES:
            raise EvaluationError(f"The {what} set has {len(sounds)} file(s): at least three are needed to say how sets differ.")
    if prompt and not isinstance(embedder, TextEmbedder):
        raise EvaluationError(f"The embedder {embedder.name} reads no text: leave the prompt out, or choose clap.")
    total = len(reference) + len(candidate) + len(training)
    clips = [hear(sound, embedder, _told(tell, index, total)) for index, sound in enumerate(candidate)]
    typical_s = float(np.median([clip.duration_s for clip in clips]))
    tracks = [hear(sound, embedder, _told(tell, len(clips) + i, total), excerpt_s=typical_s) for i, sound in enumerate(reference)]
    first = len(clips) + len(tracks)
    trained = [hear(sound, embedder, _told(tell, first + i, total), excerpt_s=0.0) for i, sound in enumerate(training)]
    return compare(tracks, clips, trained, embedder=embedder, prompt=prompt, seed=seed)


def hear(sound: Sound, embedder: Embedder, done: Callable[[], None] = lambda: None, *, excerpt_s: float | None = None) -> Heard:
    """Embed and check one file. ``excerpt_s``: check excerpts of that length instead of all of it; 0 is none. Raises EvaluationError."""
    embeddings: list[NDArray[np.float32]] = []
    scores: list[NDArray[np.float32]] = []
    found: list[Checks] = []
    duration_s = 0.0
    try:
        for piece in sound.pieces():
            duration_s += piece.duration_s
            found += [check(part) for part in _parts(piece, excerpt_s)]
            if embeddings and piece.duration_s < 10.0:
                continue  # the short end of a long track
            if isinstance(embedder, Tagger):
                vectors, tags = embedder.listen(piece)
                scores.append(tags.scores)
            else:
                vectors = embedder.embed(piece)
            embeddings.append(vectors)
        if not embeddings:
            raise AudioError("There is no sound in it.")
    except AudioError as error:
        raise EvaluationError(f"{sound.name}: {error}") from error
    except OSError as error:
        raise EvaluationError(f"{sound.name} can't be read: {error.strerror or error}.") from error
    done()
    tags_of = np.concatenate(scores) if scores else None
    return Heard(sound.name, duration_s, np.concatenate(embeddings), tags_of, tuple(found))


def compare(
    reference: Sequence[Heard],
    candidate: Sequence[Heard],
    training: Sequence[Heard] = (),
    *,
    embedder: Embedder,
    prompt: str | None = None,
    seed: int = 0,
) -> Report:
    """The figures, of what was heard. Raises EvaluationError."""
    real, made = [one.embeddings for one in reference], [one.embeddings for one in candidate]
    notes = []
    try:
        thin_real, thin_made = (distances.stack(one)[0] for one in distances.alike(real, made, seed))
        fad = distances.fad(thin_real, thin_made)
        kad, real_kad = _kad(real, made, seed), _kad(real[::2], real[1::2], seed) if len(real) >= 2 * LEAST_FILES else None
        copied = _copied(reference, candidate, training) if training else None
        kl = None
        real_tags, made_tags = ([one.tags for one in heard if one.tags is not None] for heard in (reference, candidate))
        if real_tags and made_tags:
            kl = distances.kl(np.concatenate(real_tags), np.concatenate(made_tags))
        made_rates = rates([found for one in candidate for found in one.checks])
        real_rates = rates([found for one in reference for found in one.checks])
    except ValueError as error:
        raise EvaluationError(f"These sets can't be compared: {error}.") from error
    if len(thin_made) < 2 * embedder.dimensions:
        notes.append(f"FAD of {len(thin_made)} windows in {embedder.dimensions} dimensions says little: go by KAD, or compare more audio.")
    if (few := min(len(reference), len(candidate))) < FEW_FILES:
        notes.append(f"The interval of KAD is drawn over {few} files, which are few: it would be another with others.")
    if copied and copied.real_excerpts < 20:
        notes.append(f"{copied.real_excerpts} real excerpts are few to say what likeness is normal: hold out more tracks.")
    return Report(
        embedder=embedder.name,
        reference=_extent(reference),
        candidate=_extent(candidate),
        windows_compared=len(thin_made),
        fad=fad,
        kad=kad,
        real_kad=real_kad,
        kl=kl,
        text_agreement=_agreement(made, embedder, prompt),
        copies=copied,
        checks=made_rates,
        real_checks=real_rates,
        seed=seed,
        notes=tuple(notes),
    )


def folder(path: Path) -> list[Sound]:
    """The audio files in and below a folder, by name. Raises EvaluationError where there is none."""
    if not path.is_dir():
        raise EvaluationError(f"{path} is no folder: name a folder of audio files.")
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in ENDINGS and file.is_file() and not _hidden(file, path))
    if not files:
        raise EvaluationError(f"There are no audio files in {path}.")
    return [of_file(file) for file in files]


def of_file(path: Path) -> Sound:
    """A file, read when it is its turn."""

    def pieces() -> Iterator[Audio]:
        if path.stat().st_size > MAX_TRACK_BYTES:
            raise AudioError(f"It is too big: at most {MAX_TRACK_BYTES // 2**20} MiB can be used. Export it as MP3 or FLAC.")
        yield from _decoded(path.read_bytes(), path.name)

    return Sound(str(path), pieces)


def of_bytes(name: str, read: Callable[[], bytes]) -> Sound:
    """Bytes in any format that an upload may have."""
    return Sound(name, lambda: _decoded(read(), "it"))


def of_audio(name: str, audio: Audio) -> Sound:
    """Sound that is in memory already."""
    return Sound(name, lambda: iter([audio]))


def _hidden(file: Path, folder: Path) -> bool:
    """macOS leaves ._track.mp3 beside track.mp3 on sticks; it is no audio."""
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _decoded(data: bytes, name: str) -> Iterator[Audio]:
    piece = decode(data, duration_s=PIECE_S, name=name)
    yield piece
    if piece.duration_s < PIECE_S - 0.1:
        return
    duration_s, start_s = probe(data, name=name).duration_s, PIECE_S
    while duration_s - start_s > 0.1:
        yield decode(data, start_s=start_s, duration_s=PIECE_S, name=name)
        start_s += PIECE_S


def _parts(audio: Audio, excerpt_s: float | None) -> list[Audio]:
    """The whole, or excerpts spread evenly over it."""
    if excerpt_s is None or 0 < audio.duration_s <= excerpt_s:
        return [audio]
    if excerpt_s <= 0:
        return []
    length = round(excerpt_s * audio.sample_rate)
    count = min(EXCERPTS_A_TRACK, audio.length_samples // length)
    starts = np.linspace(0, audio.length_samples - length, count).astype(int)
    return [Audio(audio.samples[:, start : start + length], audio.sample_rate) for start in starts]


def _kad(reference: Sequence[NDArray[np.float32]], candidate: Sequence[NDArray[np.float32]], seed: int) -> distances.Interval:
    (a, clips_a), (b, clips_b) = distances.stack(reference), distances.stack(candidate)
    return distances.kad_interval(a, b, reference_clips=clips_a, candidate_clips=clips_b, seed=seed)


def _copied(reference: Sequence[Heard], candidate: Sequence[Heard], training: Sequence[Heard]) -> Copied:
    neighbours = copies.Neighbours([one.embeddings for one in training])
    length = int(np.median([len(one.embeddings) for one in candidate]))
    real = [neighbours.nearest(part)[0] for one in reference for part in copies.excerpts(one.embeddings, length)]
    likeness = {one.name: neighbours.nearest(one.embeddings)[0] for one in candidate}
    found = copies.beyond_real(list(likeness.values()), real)
    worst = sorted(((name, value) for name, value in likeness.items() if value > found.threshold), key=lambda pair: -pair[1])
    return Copied(found.share, found.real_share, found.threshold, found.clips, found.real_clips, tuple(worst))


def _agreement(made: Sequence[NDArray[np.float32]], embedder: Embedder, prompt: str | None) -> float | None:
    """Mean cosine of the clips with what was asked for."""
    if not prompt or not isinstance(embedder, TextEmbedder):
        return None
    text = embedder.embed_text(prompt)
    means = np.stack([one.mean(axis=0) for one in made])
    return float((means @ text / np.linalg.norm(means, axis=1) / np.linalg.norm(text)).mean())


def _extent(heard: Sequence[Heard]) -> Extent:
    return Extent(len(heard), sum(len(one.embeddings) for one in heard), round(sum(one.duration_s for one in heard), 1))


def _told(tell: Callable[[int, int], None], index: int, total: int) -> Callable[[], None]:
    return lambda: tell(index + 1, total)
