"""``finetune``: a prepared crate and a base to a checkpoint, with a forecast first."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.cli.progress import Tell
    from engine.settings import EngineSettings
    from engine.training.figures import Figures
    from engine.training.finetune import Finetune, Outcome
    from engine.training.recipes import Recipe
    from engine.training.sets import FinetuneSet


def finetune(arguments: argparse.Namespace) -> int:
    """Raises EngineError for ``main`` to tell."""
    import torch

    from engine.cli.progress import bar
    from engine.crate import codes
    from engine.models import pick_device
    from engine.musicgen import checkpoint
    from engine.settings import EngineSettings
    from engine.training import sets
    from engine.training.finetune import Finetune, FinetuneError
    from engine.training.team import team_of_launch

    settings = EngineSettings.read(checkpoint=arguments.base, device=arguments.device, threads=arguments.threads)
    recipe = _recipe(arguments)
    target = codes.target(settings)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with team_of_launch() as team:
        model = checkpoint.load(target.folder, device=pick_device(settings.device))
        data = sets.read(arguments.manifest, model, codec=target.codec, pad_to_window=recipe.pad_to_window)
        try:
            if arguments.dry_run:
                return _forecast(model, data, recipe, as_json=arguments.json)
            run = Finetune(model, data.training, data.held_out, recipe, arguments.out, team=team)
            with bar(team.leads and not arguments.json and sys.stderr.isatty(), unit="steps") as tell:
                outcome = run.run(_teller(tell))
        except FinetuneError as error:
            raise EngineError("bad_request", str(error)) from error
        if team.leads:
            _finish(run, outcome, data, arguments, settings=settings, parent=target.checkpoint)
    return 0


def _recipe(arguments: argparse.Namespace) -> Recipe:
    from engine.training.adapters import AdapterShape
    from engine.training.recipes import RECIPES

    recipe = RECIPES[arguments.recipe]
    names = ("epochs", "rate", "batch", "micro_batch", "prior_weight", "seed")
    given: dict[str, Any] = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    wrong = [name for name, value in given.items() if value < 0 or (value == 0 and name not in ("prior_weight", "seed"))]
    if wrong or (arguments.rank is not None and arguments.rank < 1):
        raise EngineError("bad_request", f"--{(wrong or ['rank'])[0].replace('_', '-')} must be above 0.")
    if arguments.rank is not None:
        given["adapter"] = AdapterShape(arguments.rank, 2.0 * arguments.rank)
    return replace(recipe, checkpointing=arguments.checkpointing, **given)


def _forecast(model: Any, data: FinetuneSet, recipe: Recipe, *, as_json: bool) -> int:
    """Measure one step for real, in a folder that goes away."""
    import resource
    import tempfile

    import torch

    from engine.training.finetune import Finetune

    with tempfile.TemporaryDirectory() as folder:
        run = Finetune(model, data.training, data.held_out, recipe, Path(folder))
        seconds = run.measure()
    validations = run.steps // run.validate_every + 1
    hours = (run.steps * seconds.step + validations * seconds.validation) / 3600
    figures = {
        "segments": len(data.training),
        "held_out_segments": len(data.held_out),
        "tracks": data.training_tracks,
        "held_out_tracks": data.held_out_tracks,
        "steps": run.steps,
        "trained_parameters": sum(p.numel() for p in run.parameters),
        "seconds_a_step": round(seconds.step, 3),
        "seconds_a_validation": round(seconds.validation, 3),
        "hours_at_most": round(hours, 3),
        "peak_memory_gib": round(
            (torch.cuda.max_memory_allocated() if torch.cuda.is_available() else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
            / 2**30, 2,
        ),
        "advice": advice(data),
    }  # fmt: skip
    if as_json:
        print(json.dumps(figures, ensure_ascii=False))
        return 0
    print(
        f"{figures['segments']} segments of {data.training_tracks} tracks ({data.seconds / 60:.0f} minutes), "
        f"{figures['held_out_segments']} of {data.held_out_tracks} held out\n"
        f"{run.steps} steps at most, {seconds.step:.1f} s each: {hours * 60:.0f} minutes at most, "
        f"{figures['peak_memory_gib']} GiB of memory, {figures['trained_parameters']:,} numbers trained"
    )
    for line in advice(data):
        print(f"- {line}")
    return 0


def advice(data: FinetuneSet) -> list[str]:
    """What would make the result better, in words."""
    found = []
    if data.training_tracks < 15:
        found.append(f"{data.training_tracks} tracks are few: 30 or more in one manner give the model something to learn.")
    if data.held_out and data.held_out_tracks < 5:
        found.append(f"Only {data.held_out_tracks} tracks are held out: what is measured on them is uncertain.")
    if data.seconds < 1200:
        found.append("Less than 20 minutes of music: longer excerpts of each track ('crate prepare' with the preset bars) help.")
    return found


def _teller(tell: Tell) -> Callable[[Figures], None]:
    """Shows the step, and the held-out loss that it led to."""
    shown = "training"

    def told(figures: Figures) -> None:
        nonlocal shown
        if figures.held_out is not None:
            shown = f"unseen {figures.held_out:.3f}"
        tell(shown, figures.step, figures.of_steps)

    return told


def _finish(
    run: Finetune, outcome: Outcome, data: FinetuneSet, arguments: argparse.Namespace, *, settings: EngineSettings, parent: str
) -> None:
    from engine.checkpoints import Catalogue, describe
    from engine.cli.make import write
    from engine.training import export, plots

    info = describe(Catalogue(settings.checkpoint, settings.data / "checkpoints").find(None), None, default=True)
    licence = info.licence if info else "unknown: ask whoever trained the base"
    name = arguments.name or arguments.out.resolve().name
    write(arguments.out / "loss.png", plots.draw(outcome.history, title=f"{name}: {run.recipe.name} on {parent}"))
    folder = export.write(run, outcome, data, arguments.out, name=name, parent=parent, licence=licence)
    if arguments.name:
        served = settings.data / "checkpoints" / arguments.name
        unfinished = served.with_name(f".{arguments.name}.{time.time_ns()}")
        shutil.copytree(folder, unfinished)
        shutil.rmtree(served, ignore_errors=True)
        unfinished.rename(served)
    figures = {
        "out": str(arguments.out), "checkpoint": str(folder), "name": arguments.name, "steps": outcome.steps,
        "best_step": outcome.best_step, "base_held_out": outcome.base, "held_out": outcome.best, "stopped_early": outcome.stopped_early,
    }  # fmt: skip
    if arguments.json:
        print(json.dumps(figures, ensure_ascii=False))
        return
    if outcome.base is None or outcome.best is None:
        print(f"{folder}: {outcome.steps} steps; nothing was held out, so nobody knows whether it is better than {parent}.")
    elif outcome.best < outcome.base:
        ended = "stopped when unseen tracks no longer profited" if outcome.stopped_early else "done"
        print(
            f"{folder}: {ended} after {outcome.steps} steps; kept step {outcome.best_step}.\n"
            f"unseen tracks: {outcome.best:.3f} nats a code, {parent} {outcome.base:.3f} ({1 - outcome.best / outcome.base:.1%} lower)"
        )
    else:
        print(f"{folder}: no step was better than {parent} on unseen tracks ({outcome.base:.3f} nats a code), so it is {parent} unchanged.")
