"""What an experiment is to do, and where each of its parts lies. Values only.

::

    OUT/plan.json                         what was asked for; the same folder goes on only with the same
        music/{alice,unseen}/*.flac       her tracks
        datasets/{bars,alice-2023,unseen} of `crate prepare`
        heard/{alice,unseen,coded}.npz    what musicnn hears in them; coded: in the unseen ones through the codec
        seed-0/base/{B,D}/00.npz …        eight clips each: codes, embeddings, tags, checks
        seed-0/lora/run/                  as `finetune` leaves it; adapter/, checkpoint/
                    curve.jsonl           loss on unseen tracks by step; nothing is decided by it
                    {A,C}/00.npz …
        clips/                            a few of each, to listen to
        experiment.json · .md · .png
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from engine.files import write_json
from engine.training.adapters import AdapterShape
from engine.training.recipes import Recipe, recipe_for

RecipeName = Literal["alice-2023", "lora", "full"]
Category = Literal["A", "B", "C", "D"]
BASE = "base"
OF_FINETUNED: tuple[Category, ...] = ("A", "C")
OF_BASE: tuple[Category, ...] = ("B", "D")
PLAIN = "techno"
VERSION = 2


class PlanError(ValueError):
    """The experiment can't be done so; the message says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """tracks: that are learned. unseen: further ones, which nothing is trained or chosen on. crate: which of Alice's crates, a seed.

    Clips are sampled as the checkpoint's own settings say: what a member would hear. old_epochs: of alice-2023. changes: to settings of
    the other recipes, and their rank, for trying out.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    recipes: tuple[RecipeName, ...] = ("alice-2023", "lora")
    tracks: int = 100
    unseen: int = 20
    bars: int = 40
    clips: int = 50
    clip_s: float = 6.0
    manner: str = "industrial"
    crate: int = 0
    token: str = "Alice_hash"  # noqa: S105  a word in a prompt
    old_epochs: float = 10.0
    changes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.tracks, self.clips) < 3 or self.unseen < 6:
            raise PlanError("At least 3 tracks, 3 clips a category and 6 unseen tracks are needed to compare anything.")
        if self.clip_s < 3:
            raise PlanError("Clips must be at least 3 s long: less can't be compared.")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or not self.recipes:
            raise PlanError("Name at least one seed, each once, and at least one recipe.")

    def recipe(self, name: RecipeName, seed: int, width: int) -> Recipe:
        """The product's own for a base of that width, with this run's seed."""
        recipe = replace(recipe_for(name, width), seed=seed)
        if name == "alice-2023":
            return replace(recipe, epochs=self.old_epochs)
        changes = dict(self.changes)
        if (rank := changes.pop("rank", None)) is not None:
            changes["adapter"] = AdapterShape(rank, 2.0 * rank, recipe.adapter.dropout)
        return replace(recipe, **changes)

    def prompt(self, category: Category) -> str:
        return f"{self.token} {PLAIN}" if category in ("A", "B") else PLAIN

    def clip_seeds(self, seed: int) -> list[int]:
        """The same for all categories and recipes of one seed."""
        return [1_000_000 * (seed + 1) + number for number in range(self.clips)]


@dataclass(frozen=True, slots=True)
class Place:
    """The experiment's folder. checkpoint: the base's folder."""

    out: Path
    checkpoint: Path

    @property
    def data(self) -> Path:
        """ENGINE_DATA of its own: crates, findings, codes."""
        return self.out / "data"

    def music(self, name: str) -> Path:
        return self.out / "music" / name

    def dataset(self, name: str) -> Path:
        return self.out / "datasets" / name

    def of(self, seed: int, model: str) -> Path:
        """The folder of a recipe's finetune, or of the base, with its clips."""
        return self.out / f"seed-{seed}" / model


def begin(plan: Plan, place: Place, *, codec: str) -> None:
    """Take note of the plan, or find that this folder is of the same one. Raises PlanError."""
    file = place.out / "plan.json"
    record = json.loads(json.dumps({"version": VERSION, "codec": codec} | asdict(plan)))
    if not file.exists():
        write_json(file, record)
        return
    before = json.loads(file.read_text(encoding="utf-8"))
    grown = {name: value for name, value in record.items() if name != "seeds"}  # further seeds may be added
    if {name: value for name, value in before.items() if name != "seeds"} != grown:
        changed = next(name for name in record if before.get(name) != record[name] and name != "seeds")
        raise PlanError(f"{place.out} holds an experiment with another {changed}: choose another --out, or delete that folder.")
    write_json(file, record)
