"""``finetune``: a prepared crate and a base to a checkpoint, with a forecast first and a report card at the end.

Both are the jobs' own (``engine.finetunes``). Not here: the training loop (engine/training), jobs over HTTP.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.api.finetunes import ReportCard
    from engine.cli.progress import Tell
    from engine.evaluation.embeddings import Embedder
    from engine.finetunes.clips import Clips
    from engine.finetunes.reporting import Run
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
    target = codes.target(settings)
    recipe = _recipe(arguments, target.width)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    _let_others_go_first(arguments.nice)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with team_of_launch() as team:
        model = checkpoint.load(target.folder, device=pick_device(settings.device))
        data = sets.read(arguments.manifest, model, codec=target.codec, pad_to_window=recipe.pad_to_window)
        clips = _clips(arguments, settings, data)
        listener = _listener() if clips and team.leads and not arguments.dry_run else None
        try:
            if arguments.dry_run:
                return _forecast(model, data, recipe, clips, as_json=arguments.json)
            run = Finetune(model, data.training, data.held_out, recipe, arguments.out, team=team)
            with bar(team.leads and not arguments.json and sys.stderr.isatty(), unit="steps") as tell:
                outcome = run.run(_teller(tell))
        except FinetuneError as error:
            raise EngineError("bad_request", str(error)) from error
        if not team.leads:
            return 0
        licence = _licence(settings)
        folder = _write(run, outcome, data, arguments, parent=target.checkpoint, licence=licence)
    card = None
    if clips is not None and listener is not None:
        del model, run  # the card loads both sides anew, one at a time
        told = _told(arguments, outcome, data, base=target.checkpoint, licence=licence)
        card = _report(arguments, told, target.folder, clips=clips, listener=listener, device=settings.device)
    if arguments.name:
        _serve(arguments, settings, folder, card)
    _tell(arguments, outcome, folder, target.checkpoint, card)
    return 0


def _recipe(arguments: argparse.Namespace, width: int) -> Recipe:
    from engine.training.adapters import AdapterShape
    from engine.training.recipes import recipe_for

    recipe = recipe_for(arguments.recipe, width)
    names = ("epochs", "rate", "batch", "micro_batch", "prior_weight", "seed")
    given: dict[str, Any] = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    wrong = [name for name, value in given.items() if value < 0 or (value == 0 and name not in ("prior_weight", "seed"))]
    if wrong or (arguments.rank is not None and arguments.rank < 1):
        raise EngineError("bad_request", f"--{(wrong or ['rank'])[0].replace('_', '-')} must be above 0.")
    if arguments.rank is not None:
        given["adapter"] = AdapterShape(arguments.rank, 2.0 * arguments.rank)
    return replace(recipe, checkpointing=arguments.checkpointing, **given)


def _let_others_go_first(niceness: int) -> None:
    """A generating engine on the same machine stays quick."""
    if hasattr(os, "nice"):
        with contextlib.suppress(OSError):
            os.nice(niceness - os.nice(0))


def _clips(arguments: argparse.Namespace, settings: EngineSettings, data: FinetuneSet) -> Clips | None:
    """What base and finetune are compared by; None where no report is wanted."""
    from engine.finetunes.clips import Clips
    from engine.training.finetune import PLAIN_CAPTION

    if not arguments.report:
        return None
    if not 4 <= arguments.clips <= 1000 or not 4 <= arguments.clip_seconds <= 30:
        raise EngineError("bad_request", "--clips must be from 4 to 1000, and --clip-seconds from 4 to 30.")
    prompt = f"{data.token}, {PLAIN_CAPTION}" if data.token else PLAIN_CAPTION
    return Clips(prompt, arguments.clips, arguments.clip_seconds, arguments.seed or 0, settings.precision)


def _listener() -> Embedder:
    from engine.cli.tools import require_audio_tools
    from engine.finetunes.reporting import ears

    require_audio_tools()
    return ears()


def _forecast(model: Any, data: FinetuneSet, recipe: Recipe, clips: Clips | None, *, as_json: bool) -> int:
    """Measure one step for real, in a folder that goes away."""
    from engine.finetunes.forecasting import forecast

    found = forecast(model, data, recipe, clips)
    if as_json:
        print(json.dumps(found.record(), ensure_ascii=False))
        return 0
    report = f", then {found.report_s / 60:.0f} minutes for the report card" if clips else ""
    print(
        f"{found.segments} segments of {found.tracks} tracks ({data.seconds / 60:.0f} minutes), "
        f"{found.held_out_segments} of {found.held_out_tracks} held out\n"
        f"{found.steps} steps at most, {found.seconds_a_step:.1f} s each: {found.train_s / 60:.0f} minutes at most{report}\n"
        f"{found.memory_bytes / 2**30:.2f} GiB of memory, {found.disk_bytes / 2**30:.2f} GiB of disk, "
        f"{found.trained_parameters:,} numbers trained\n"
        f"{found.threads} CPU thread{'' if found.threads == 1 else 's'}, niceness {found.niceness}: "
        f"{'takes on this machine go first' if found.niceness > 0 else 'as urgent as everything else'}"
    )
    for line in found.advice:
        print(f"- {line}")
    return 0


def _teller(tell: Tell) -> Callable[[Figures], None]:
    """Shows the step, and the held-out loss that it led to."""
    shown = "training"

    def told(figures: Figures) -> None:
        nonlocal shown
        if figures.held_out is not None:
            shown = f"unseen {figures.held_out:.3f}"
        tell(shown, figures.step, figures.of_steps)

    return told


def _licence(settings: EngineSettings) -> str:
    from engine.checkpoints import Catalogue, describe

    info = describe(Catalogue(settings.checkpoint, settings.data / "checkpoints").find(None), None, default=True)
    return info.licence if info else "unknown: ask whoever trained the base"


def _name(arguments: argparse.Namespace) -> str:
    name: str = arguments.name or arguments.out.resolve().name
    return name


def _write(run: Finetune, outcome: Outcome, data: FinetuneSet, arguments: argparse.Namespace, *, parent: str, licence: str) -> Path:
    """The curve, the adapter and the merged checkpoint; its folder."""
    from engine.cli.make import write
    from engine.training import export, plots

    name = _name(arguments)
    write(arguments.out / "loss.png", plots.draw(outcome.history, title=f"{name}: {run.recipe.name} on {parent}"))
    return export.write(run, outcome, data, arguments.out, name=name, parent=parent, licence=licence)


def _told(arguments: argparse.Namespace, outcome: Outcome, data: FinetuneSet, *, base: str, licence: str) -> Run:
    from engine.finetunes.reporting import Run

    return Run(
        name=_name(arguments),
        base=base,
        recipe=arguments.recipe,
        token=data.token,
        licence=licence,
        held_out_base=outcome.base,
        held_out=outcome.best,
        tracks=data.training_tracks,
        held_out_tracks=data.held_out_tracks,
        segments=len(data.training),
        held_out_segments=len(data.held_out),
        steps=outcome.steps,
        best_step=outcome.best_step,
        stopped_early=outcome.stopped_early,
        train_s=max((figures.seconds for figures in outcome.history), default=0.0),
    )


def _report(arguments: argparse.Namespace, run: Run, base: Path, *, clips: Clips, listener: Embedder, device: str) -> ReportCard:
    """The report card, in OUT/report; what is there of an interrupted one is used."""
    from engine.cli.progress import bar
    from engine.crate import manifest
    from engine.finetunes.reporting import report
    from engine.models import pick_device
    from engine.musicgen import checkpoint

    lines, folder = manifest.read(arguments.manifest), arguments.manifest if arguments.manifest.is_dir() else arguments.manifest.parent
    where = pick_device(device)
    with bar(not arguments.json and sys.stderr.isatty(), unit="") as tell:
        return report(
            run,
            lambda: checkpoint.load(base, device=where),
            lambda: checkpoint.load(arguments.out / "checkpoint", device=where),
            [(folder, line) for line in lines],
            arguments.out / "report",
            clips=clips,
            listener=listener,
            tell=tell,
        )


def _serve(arguments: argparse.Namespace, settings: EngineSettings, folder: Path, card: ReportCard | None) -> None:
    """A copy where the engine looks, as an adapter where there is one (it can be dialled), with what the gate said."""
    from engine.checkpoints import ADAPTER_FOLDER
    from engine.files import write_json
    from engine.finetunes.jobs import REPORT_FOLDER
    from engine.finetunes.reporting import CARD, FILES

    served = settings.data / "checkpoints" / arguments.name
    unfinished = served.with_name(f".{arguments.name}.{time.time_ns()}")
    if (adapter := arguments.out / ADAPTER_FOLDER).is_dir():
        shutil.copytree(adapter, unfinished / ADAPTER_FOLDER)
    else:
        shutil.copytree(folder, unfinished)
    facts = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    if card is not None:
        facts |= {"gate": card.gate, "report": card.model_dump(mode="json")}
        shutil.copytree(arguments.out / "report" / FILES, unfinished / REPORT_FOLDER)
        shutil.copy(arguments.out / "report" / CARD, unfinished / REPORT_FOLDER / CARD)
    write_json(unfinished / "card.json", facts)
    shutil.rmtree(served, ignore_errors=True)
    unfinished.rename(served)


def _tell(arguments: argparse.Namespace, outcome: Outcome, folder: Path, parent: str, card: ReportCard | None) -> None:
    if arguments.json:
        figures = {
            "out": str(arguments.out), "checkpoint": str(folder), "name": arguments.name, "steps": outcome.steps,
            "best_step": outcome.best_step, "base_held_out": outcome.base, "held_out": outcome.best, "stopped_early": outcome.stopped_early,
            "report": card.model_dump(mode="json") if card else None,
        }  # fmt: skip
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
    if card is not None:
        print(_card_words(card, arguments.out / "report"))


def _card_words(card: ReportCard, folder: Path) -> str:
    """The report card as lines: figures, verdict, where to listen."""
    lines = []
    for check in card.checks:
        lines.append(f"{'✓' if check.passed else '✗'} {check.words}")
    if card.before is not None and card.after is not None:
        kl = "" if card.after.kl is None or card.before.kl is None else f", KL of tags {card.after.kl:.3f} against {card.before.kl:.3f}"
        lines.append(f"  FAD {card.after.fad:.1f} against {card.before.fad:.1f}{kl}; {card.clips_compared} clips of each")
    lines.append(card.words if card.gate != "failed" else "It did not pass: the base is the better choice.")
    lines += [f"- {said}" for said in (*card.advice, *card.notes)]
    lines.append(f"report card: {folder / 'files' / 'card.png'}; listen to {folder / 'files' / '1-before.mp3'} and 1-after.mp3 …")
    return "\n".join(lines)
