"""What becomes of a finished run: an adapter, and a merged checkpoint that the engine, transformers and audiocraft load.

::

    OUT/adapter/       PEFT's files, where the recipe trained an adapter
    OUT/checkpoint/    a transformers folder, with card.json: kind finetuned, its parent, token, licence, figures
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from engine.files import write_json
from engine.musicgen import checkpoint
from engine.training import adapters
from engine.training.finetune import Finetune, Outcome
from engine.training.sets import FinetuneSet


def write(
    run: Finetune, outcome: Outcome, data: FinetuneSet, folder: Path, *, name: str, parent: str, licence: str, strength: float = 1.0
) -> Path:
    """Write both under ``folder``; the run's model is merged by that. Returns the checkpoint's folder; it appears whole."""
    base_sha256 = run.model.sha256
    if run.adapter is not None:
        adapters.save(run.adapter, folder / "adapter", base=parent, base_sha256=base_sha256)
        run.adapter.strength = strength
        run.adapter.merge()
    unfinished = folder / ".checkpoint.tmp"
    shutil.rmtree(unfinished, ignore_errors=True)
    checkpoint.export(run.model, unfinished)
    facts = card(run, outcome, data, name=name, parent=parent, licence=licence, base_sha256=base_sha256) | {"strength": strength}
    write_json(unfinished / "card.json", facts)
    final = folder / "checkpoint"
    shutil.rmtree(final, ignore_errors=True)
    unfinished.rename(final)
    return final


def card(run: Finetune, outcome: Outcome, data: FinetuneSet, *, name: str, parent: str, licence: str, base_sha256: str) -> dict[str, Any]:
    """What ``card.json`` says of a finetune, whatever form it has. ``parent``: the base's id; ``base_sha256``: of its weights."""
    return {
        "name": name,
        "kind": "finetuned",
        "parent": parent,
        "parent_sha256": base_sha256,
        "token": data.token,
        "licence": licence,
        "recipe": run.recipe.record(),
        "tracks": {"training": data.training_tracks, "held_out": data.held_out_tracks},
        "steps": outcome.steps,
        "best_step": outcome.best_step,
        "held_out_nats": {"base": outcome.base, "finetuned": outcome.best},
    }
