"""The parts of an experiment that take time, each a job that is done once and leaves a file: learning, making clips, listening.

A job runs in any process. ``done``: its last file is there; ``share``: how much of it is, read from the disk, so that whoever waits needs
no word from it. A killed job goes on where its files end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.checks import Checks
from engine.evaluation.clips import AT_ONCE
from engine.evaluation.report import Heard, Sound
from engine.experiment.alice import Rendering, middle_segments
from engine.experiment.plan import BASE, Category, Place, Plan, RecipeName
from engine.files import write_atomically, write_json

LISTENED = 4
"""Clips of each category that are kept as FLAC."""


@dataclass(frozen=True, slots=True)
class Finetuning:
    """One recipe, one seed: as ``python -m engine finetune`` does it, with the loss on unseen tracks noted on the way."""

    plan: Plan
    place: Place
    recipe: RecipeName
    seed: int
    codec: str
    licence: str

    @property
    def folder(self) -> Path:
        return self.place.of(self.seed, self.recipe)

    @property
    def done(self) -> bool:
        return (self.folder / "outcome.json").is_file()

    @property
    def share(self) -> float:
        if self.done:
            return 1.0
        last = _last_line(self.folder / "run" / "metrics.jsonl")
        return min(0.99, last["step"] / last["of_steps"]) if last else 0.0

    def run(self) -> None:
        from engine.musicgen import checkpoint
        from engine.training import export, sets
        from engine.training.figures import Figures
        from engine.training.finetune import Finetune
        from engine.training.losses import held_out_nats

        _one_thread()
        model = checkpoint.load(self.place.checkpoint)
        recipe = self.plan.recipe(self.recipe, self.seed, model.lm.config.width)
        dataset = self.place.dataset("alice-2023" if recipe.pad_to_window else "bars")
        data = sets.read(dataset, model, codec=self.codec, pad_to_window=recipe.pad_to_window)
        rows = unseen_rows(self.plan, self.place, recipe.micro_batch)
        self.folder.mkdir(parents=True, exist_ok=True)
        run = Finetune(model, data.training, data.held_out, recipe, self.folder / "run")

        def note(step: int) -> None:
            with run.averaged():
                nats = held_out_nats(model.lm, model.conditioner, rows)
            with (self.folder / "curve.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, "nats": float(nats.mean())}) + "\n")

        def tell(figures: Figures) -> None:
            if figures.loss is not None and (figures.step % run.validate_every == 0 or figures.step == run.steps):
                note(figures.step)

        if run.standing.step == 0:
            note(0)
        outcome = run.run(tell)
        nats = held_out_nats(model.lm, model.conditioner, rows)
        export.write(run, outcome, data, self.folder, name=f"alice-{self.recipe}", parent="base", licence=self.licence)
        facts = {
            "recipe": recipe.record(),
            "steps": outcome.steps,
            "kept_step": outcome.best_step,
            "epochs": outcome.steps / run.deck.steps_per_epoch,
            "segments": len(data.training),
            "tracks": data.training_tracks,
            "validation": {"base": outcome.base, "kept": outcome.best, "stopped_early": outcome.stopped_early},
            "unseen": {"base": curve(self.folder)[0][1], "kept": float(nats.mean())},
            "seconds": run.standing.seconds,
        }
        write_json(self.folder / "outcome.json", facts)


@dataclass(frozen=True, slots=True)
class Clips:
    """One category of one model: made eight at a time, listened to at once, kept as codes and embeddings."""

    plan: Plan
    place: Place
    seed: int
    model: str
    category: Category

    @property
    def folder(self) -> Path:
        return self.place.of(self.seed, self.model) / self.category

    @property
    def files(self) -> list[Path]:
        return [self.folder / f"{number:02d}.npz" for number in range(-(-self.plan.clips // AT_ONCE))]

    @property
    def done(self) -> bool:
        return all(file.is_file() for file in self.files)

    @property
    def share(self) -> float:
        return sum(file.is_file() for file in self.files) / len(self.files)

    def run(self) -> None:
        from engine.evaluation.clips import make
        from engine.evaluation.embeddings import Musicnn
        from engine.evaluation.report import hear, of_audio
        from engine.musicgen import checkpoint

        _one_thread()
        own = self.place.checkpoint if self.model == BASE else self.place.of(self.seed, self.model) / "checkpoint"
        model, embedder = checkpoint.load(own), Musicnn()
        seeds, prompt = self.plan.clip_seeds(self.seed), self.plan.prompt(self.category)
        for number, file in enumerate(self.files):
            if file.is_file():
                continue
            some = seeds[number * AT_ONCE : (number + 1) * AT_ONCE]
            frames = model.frames_of(self.plan.clip_s)
            clips = list(make(model, [prompt] * len(some), some, frames))
            heard = [hear(of_audio(f"{self.seed}-{self.model}-{self.category}-{clip.seed}", clip.audio), embedder) for clip in clips]
            if number == 0:
                for index, clip in enumerate(clips[:LISTENED]):
                    name = f"seed-{self.seed}-{self.model}-{self.category}-{index}.flac"
                    _write_flac(self.place.out / "clips" / name, clip.audio.samples, clip.audio.sample_rate)
            save(file, heard, [clip.codes[0] for clip in clips])


@dataclass(frozen=True, slots=True)
class Listening:
    """What is heard in her tracks: ``alice`` whole, for near-copies; ``unseen`` with excerpts checked as clips are; ``coded``: the unseen
    ones as the base's codec gives them back, which no clip can be expected to come nearer than."""

    plan: Plan
    place: Place
    name: str

    @property
    def file(self) -> Path:
        return self.place.out / "heard" / f"{self.name}.npz"

    @property
    def done(self) -> bool:
        return self.file.is_file()

    @property
    def share(self) -> float:
        return float(self.done)

    def run(self) -> None:
        from engine.evaluation.embeddings import Musicnn
        from engine.evaluation.report import folder, hear

        _one_thread()
        excerpt_s, embedder = (0.0 if self.name == "alice" else self.plan.clip_s), Musicnn()
        sounds = self._coded() if self.name == "coded" else folder(self.place.music(self.name))
        save(self.file, [hear(sound, embedder, excerpt_s=excerpt_s) for sound in sounds])

    def _coded(self) -> Iterator[Sound]:
        import soundfile
        import torch

        from engine.evaluation.report import of_audio
        from engine.music.audio import Audio, resample
        from engine.musicgen import checkpoint

        model = checkpoint.load(self.place.checkpoint)
        for path in sorted(self.place.music("unseen").glob("*.flac")):
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
            audio = resample(Audio(np.ascontiguousarray(samples.T), rate), model.sample_rate, model.channels)
            with torch.inference_mode():
                back = model.codec.decode(model.codec.encode(torch.from_numpy(audio.samples))).numpy()
            yield of_audio(path.name, Audio(np.ascontiguousarray(back, dtype=np.float32), model.sample_rate))


Job = Rendering | Finetuning | Clips | Listening


def work(job: Job) -> None:
    """For a process of a pool, which must find it by name."""
    job.run()


def unseen_rows(plan: Plan, place: Place, at_once: int) -> list[Any]:
    """The unseen segments under A's words, in batches."""
    import torch

    from engine.training.segments import Rows, Segment

    prompt, folder = plan.prompt("A"), place.dataset("unseen")
    segments = [
        Segment(line.id, line.track, torch.from_numpy(np.load(folder / line.codes, allow_pickle=False).astype(np.int64)), prompt)
        for line in middle_segments(place)
    ]
    parts = [tuple(segments[first : first + at_once]) for first in range(0, len(segments), at_once)]
    return [Rows(part, (prompt,) * len(part)) for part in parts]


def curve(folder: Path) -> list[tuple[int, float]]:
    """Steps, and nats a code on unseen tracks. What a killed run noted is noted again: the last word counts."""
    found: dict[int, float] = {}
    for line in (folder / "curve.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue  # cut off by a kill
        found[record["step"]] = record["nats"]
    return sorted(found.items())


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """What ``load`` gives. codes: the first codebook of each clip, where they were kept."""

    heard: list[Heard] = field(default_factory=list)
    codes: list[NDArray[Any]] = field(default_factory=list)


def save(file: Path, heard: Sequence[Heard], codes: Sequence[NDArray[Any]] = ()) -> None:
    """Everything that was heard, in one file; no pickles."""
    arrays: dict[str, NDArray[Any]] = {"names": np.array([one.name for one in heard])}
    for number, one in enumerate(heard):
        assert one.tags is not None
        checks = np.array([[c.silent_s, c.clipped_share, c.repetition, c.movement_db] for c in one.checks]).reshape(-1, 4)
        arrays |= {f"e{number}": one.embeddings, f"t{number}": one.tags, f"c{number}": checks, f"s{number}": np.array(one.duration_s)}
    arrays |= {f"k{number}": own for number, own in enumerate(codes)}

    def write(path: Path) -> None:
        with path.open("wb") as stream:
            np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # numpy's stubs know one keyword of it

    write_atomically(file, write)


def load(files: Sequence[Path]) -> Kept:
    """What ``save`` wrote in each of the files, in order."""
    kept = Kept()
    for file in files:
        with np.load(file, allow_pickle=False) as arrays:
            for number, name in enumerate(arrays["names"]):
                checks = tuple(Checks(*map(float, row)) for row in arrays[f"c{number}"])
                kept.heard.append(Heard(str(name), float(arrays[f"s{number}"]), arrays[f"e{number}"], arrays[f"t{number}"], checks))
                if f"k{number}" in arrays:
                    kept.codes.append(arrays[f"k{number}"])
    return kept


def _write_flac(path: Path, samples: NDArray[np.float32], sample_rate: int) -> None:
    import soundfile

    write_atomically(path, lambda p: soundfile.write(p, samples.T, sample_rate, format="FLAC", subtype="PCM_16"))


def _last_line(file: Path) -> dict[str, Any] | None:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        found: dict[str, Any] = json.loads(lines[-1])
    except (OSError, ValueError, IndexError):
        return None
    return found


def _one_thread() -> None:
    """Jobs run side by side: each on one core wastes none of them on waiting."""
    import torch

    torch.set_num_threads(1)
