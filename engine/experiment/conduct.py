"""An experiment from beginning to end: jobs over processes, in the order in which they need each other; forecast and progress.

    tracks ─▶ datasets ─▶ finetunes, base's clips, listening ─▶ finetunes' clips ─▶ figures

What is on disk is not done again, and tells how far everything is.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.crate import pool
from engine.crate.codes import Target
from engine.errors import EngineError
from engine.experiment import alice, figures
from engine.experiment.plan import BASE, OF_BASE, OF_FINETUNED, Place, Plan, begin
from engine.experiment.work import Clips, Finetuning, Job, Listening, unseen_rows, work

Tell = Callable[[str, int, int], None]
"""(what, done, of)"""
_LOOK_EVERY_S = 0.5
_PROBE_FRAMES = 50


@dataclass(frozen=True, slots=True)
class Forecast:
    """Seconds of one core that are left, by kind of work."""

    finetunes: dict[str, float]
    clips: float
    processes: int

    @property
    def seconds(self) -> float:
        """On the clock, if nothing else wants the cores."""
        return (sum(self.finetunes.values()) + self.clips) / self.processes

    @property
    def words(self) -> str:
        each = [f"{name} {_minutes(seconds)}" for name, seconds in self.finetunes.items() if seconds]
        each += [f"clips {_minutes(self.clips)}"] if self.clips else []
        if not each:
            return "Everything is there already."
        return f"About {_minutes(self.seconds)} on {self.processes} core{'s' * (self.processes > 1)} ({', '.join(each)} of one core)."


@dataclass(frozen=True, slots=True)
class Experiment:
    """A plan, its place, and what it needs to know of the base."""

    plan: Plan
    place: Place
    target: Target
    licence: str

    def finetunings(self) -> list[Finetuning]:
        return [
            Finetuning(self.plan, self.place, recipe, seed, self.target.codec, self.licence)
            for seed in self.plan.seeds
            for recipe in self.plan.recipes
        ]

    def clips(self, *, of_base: bool) -> list[Clips]:
        models: Sequence[str] = (BASE,) if of_base else self.plan.recipes
        return [
            Clips(self.plan, self.place, seed, model, category)
            for seed in self.plan.seeds
            for model in models
            for category in (OF_BASE if of_base else OF_FINETUNED)
        ]

    def prepare(self, *, processes: int, tell: Tell) -> None:
        """Tracks and datasets. Raises EngineError, PlanError."""
        begin(self.plan, self.place, codec=self.target.codec)
        _through(alice.renderings(self.plan, self.place), processes, lambda done, of: tell("tracks", done, of))
        alice.prepare(self.plan, self.place, self.target, processes=processes, tell=tell)

    def forecast(self, *, processes: int) -> Forecast:
        """By doing one step of each recipe that is left, and a second of eight clips. The datasets must be there."""
        import torch

        from engine.evaluation.clips import AT_ONCE, make
        from engine.musicgen import checkpoint
        from engine.training import sets
        from engine.training.finetune import Finetune
        from engine.training.losses import held_out_nats

        torch.set_num_threads(1)
        left = {recipe: sum(1 - job.share for job in self.finetunings() if job.recipe == recipe) for recipe in self.plan.recipes}
        seconds: dict[str, float] = {}
        for name, runs in left.items():
            if not runs:
                seconds[name] = 0.0
                continue
            recipe = self.plan.recipe(name, self.plan.seeds[0], self.target.width)
            model = checkpoint.load(self.place.checkpoint)
            dataset = self.place.dataset("alice-2023" if recipe.pad_to_window else "bars")
            data = sets.read(dataset, model, codec=self.target.codec, pad_to_window=recipe.pad_to_window)
            rows = unseen_rows(self.plan, self.place, recipe.micro_batch)
            began = time.monotonic()
            held_out_nats(model.lm, model.conditioner, rows)
            noting_s = time.monotonic() - began
            with tempfile.TemporaryDirectory() as folder:
                run = Finetune(model, data.training, data.held_out, recipe, Path(folder))
                once = run.measure()
            each = run.steps * once.step + (run.steps // run.validate_every + 1) * (once.validation + noting_s)
            seconds[name] = each * runs
        missing = sum((1 - job.share) * self.plan.clips for job in (*self.clips(of_base=True), *self.clips(of_base=False)))
        if not missing:
            return Forecast(seconds, 0.0, processes)
        model = checkpoint.load(self.place.checkpoint)
        model.prepare()
        began = time.monotonic()
        list(make(model, [self.plan.prompt("A")] * AT_ONCE, list(range(AT_ONCE)), _PROBE_FRAMES))
        a_clip = (time.monotonic() - began) / AT_ONCE * model.frames_of(self.plan.clip_s) / _PROBE_FRAMES + _LISTENING * self.plan.clip_s
        return Forecast(seconds, missing * a_clip, processes)

    def run(self, *, processes: int, tell: Tell) -> None:
        """Everything that takes long. Raises EngineError."""
        finetunings = self.finetunings()
        first: list[Job] = [
            *sorted(finetunings, key=_by_seed),
            *(Listening(self.plan, self.place, name) for name in ("alice", "unseen", "coded")),
        ]
        first += self.clips(of_base=True)
        second: list[Job] = [*self.clips(of_base=False)]
        total = len(first) + len(second)
        with _watching([*first, *second], lambda share: tell("finetunes and clips", round(100 * share), 100 * total)):
            _through(first, processes)
            _through(second, processes)

    def judge(self) -> figures.Result:
        """The figures."""
        from engine.evaluation.embeddings import Musicnn

        return figures.judge_all(self.plan, self.place, Musicnn())


_LISTENING = 1 / 40
"""Seconds that a second of audio takes to be embedded and checked, about."""


def _by_seed(job: Finetuning) -> tuple[int, bool]:
    """The longest of each seed first."""
    return (job.seed, job.recipe != "alice-2023")


def _through(jobs: Iterable[Job], processes: int, told: Callable[[int, int], None] = lambda done, of: None) -> None:
    """Those that are not done, side by side. Raises EngineError with what the first that failed says; the others are ended."""
    left = [job for job in jobs if not job.done]
    for done, (job, problem) in enumerate(pool.work_through(work, left, min(processes, len(left))), 1):
        if isinstance(problem, pool.Failure):
            raise EngineError("internal", f"{type(job).__name__} failed: {problem.message}. The same command goes on from here.")
        told(done, len(left))


@contextmanager
def _watching(jobs: Sequence[Job], tell: Callable[[float], None]) -> Iterator[None]:
    """Says twice a second how many jobs are done, counting parts of them."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK_EVERY_S):
            tell(sum(job.share for job in jobs))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
