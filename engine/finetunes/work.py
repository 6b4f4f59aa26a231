"""A job as its process sees it: ``Work``. What is asked for, on which base, by which recipe, and how to tell and to stop."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.api.finetunes import FinetuneRequest
from engine.checkpoints import ADAPTER_FOLDER
from engine.crate.captions import spoken_genres
from engine.crate.codes import Target
from engine.errors import EngineError
from engine.finetunes.clips import Clips
from engine.finetunes.jobs import JobFacts, JobFolder
from engine.finetunes.processes import cores_for
from engine.settings import EngineSettings
from engine.training.adapters import AdapterShape
from engine.training.recipes import Recipe, recipe_for

if TYPE_CHECKING:
    from engine.musicgen.generate import MusicGen

Tell = Callable[[dict[str, Any]], None]


SPARE_BYTES = 200 * 2**20
"""Of the disk, left to others."""


class Stopped(Exception):
    """The engine ends: what is on the disk is where this goes on."""


@dataclass(frozen=True, slots=True)
class Work:
    """``tell`` takes events without their numbers; ``stop`` is asked between steps. settings: whose default checkpoint is the base."""

    job: JobFolder
    settings: EngineSettings
    target: Target
    tell: Tell
    stop: Callable[[], bool]

    @property
    def request(self) -> FinetuneRequest:
        return self.job.facts.request

    @property
    def facts(self) -> JobFacts:
        return self.job.facts

    @property
    def folder(self) -> Path:
        """Where it works."""
        return self.job.work

    @property
    def made(self) -> Path:
        """What becomes the checkpoint."""
        return self.folder / "made"

    @property
    def recipe(self) -> Recipe:
        return recipe_of(self.request, self.target.width)

    @property
    def plain(self) -> str:
        """What the base is asked for without the token."""
        return spoken_genres(self.request.genre)[0]

    @property
    def clips(self) -> Clips:
        """That both sides are compared by."""
        asked = self.request
        return Clips(f"{asked.token}, {self.plain}", asked.clips, asked.clip_seconds, asked.seed, self.settings.precision)

    @property
    def processes(self) -> int:
        return cores_for(self.settings)

    def go_on(self) -> None:
        """Raises Stopped."""
        if self.stop():
            raise Stopped

    def require_room(self, disk_bytes: int) -> None:
        """Raises EngineError where the disk has less: found out before hours are spent."""
        free, needed = shutil.disk_usage(self.folder).free, disk_bytes + SPARE_BYTES
        if free < needed:
            raise EngineError(
                "internal",
                f"The engine's disk is too full for this finetune: it needs {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free. "
                "Make room there, then start it again.",
            )

    def base(self) -> MusicGen:
        """Loaded anew. Raises EngineError where it has gone, or can't be read."""
        return self._load(self.target.folder)

    def finetuned(self) -> MusicGen:
        """What was made, loaded anew."""
        if not (self.made / ADAPTER_FOLDER).is_dir():
            return self._load(self.made)
        from engine.training import adapters

        model = self.base()
        adapters.load(model.lm, self.made / ADAPTER_FOLDER, base_sha256=model.sha256).merge()
        return model

    def _load(self, folder: Path) -> MusicGen:
        from engine.models import pick_device
        from engine.musicgen import checkpoint

        try:
            return checkpoint.load(folder, device=pick_device(self.settings.device))
        except checkpoint.CheckpointError as error:
            raise EngineError("unknown_checkpoint", f"The base {self.facts.base!r} can't be loaded: {error}") from error


def recipe_of(request: FinetuneRequest, width: int) -> Recipe:
    """The recipe for a base of that width, with what was overridden."""
    asked = request.overrides
    changes: dict[str, Any] = {"seed": request.seed}
    if asked.epochs is not None:
        changes["epochs"] = asked.epochs
    if asked.steps is not None:
        changes |= {"epochs": 1e-9, "min_steps": asked.steps}
    if asked.rate is not None:
        changes["rate"] = asked.rate
    if asked.rank is not None:
        changes["adapter"] = AdapterShape(asked.rank, 2.0 * asked.rank)
    return replace(recipe_for(request.recipe, width), **changes)
