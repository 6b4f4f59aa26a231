"""``experiment``: from arguments to a table. The work is in ``engine.experiment``."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from engine.cli.progress import bar
from engine.cli.tools import require_audio_tools
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.experiment.plan import Plan
    from engine.settings import EngineSettings

CHANGES = ("rate", "rank", "epochs", "min_steps", "batch", "ema", "caption_dropout", "prior_share", "prior_weight")


def experiment(arguments: argparse.Namespace) -> int:
    """Raises EngineError for ``main`` to tell."""
    require_audio_tools()
    from engine.crate import codes, pool
    from engine.evaluation.embeddings import EmbedderUnavailable, embedder
    from engine.experiment import showing
    from engine.experiment.conduct import Experiment
    from engine.experiment.plan import Place, PlanError
    from engine.files import write_atomically, write_json
    from engine.settings import EngineSettings

    settings = EngineSettings.read(checkpoint=arguments.checkpoint or "pocket", data=arguments.out / "data", device="cpu")
    target = codes.target(settings)
    processes = arguments.processes or pool.cores()
    try:
        embedder()  # so that what is missing is said now, not after an hour
        plan = _plan(arguments)
        whole = Experiment(plan, Place(arguments.out, target.folder), target, _licence(settings))
        with bar(not arguments.json and sys.stderr.isatty(), unit="%") as shown:
            whole.prepare(processes=processes, tell=lambda what, done, of: shown(what[:10], done, of))
            shown("measuring")
            forecast = whole.forecast(processes=processes)
            print(forecast.words, file=sys.stderr)
            whole.run(processes=processes, tell=lambda _what, done, of: shown("at work", round(100 * done / of), 100))
            shown("judging")
            result = whole.judge()
    except (PlanError, EmbedderUnavailable) as error:
        raise EngineError("bad_request", str(error)) from error
    text, picture = showing.table(result), showing.draw(result)
    write_json(arguments.out / "experiment.json", result.record())
    write_atomically(arguments.out / "experiment.md", lambda path: path.write_text(text, encoding="utf-8"))
    write_atomically(arguments.out / "experiment.png", lambda path: path.write_bytes(picture))
    print(json.dumps(result.record(), ensure_ascii=False) if arguments.json else text)
    return 0


def _plan(arguments: argparse.Namespace) -> Plan:
    from engine.experiment.plan import Plan, PlanError
    from engine.training.recipes import RECIPES

    try:
        seeds = tuple(int(word) for word in arguments.seeds.replace(",", " ").split())
    except ValueError as error:
        raise PlanError(f"--seeds are whole numbers with commas between them, such as 0,1,2, not {arguments.seeds!r}.") from error
    recipes = tuple(arguments.recipes.replace(",", " ").split())
    if unknown := [name for name in recipes if name not in RECIPES]:
        raise PlanError(f"There is no recipe {unknown[0]!r}: choose {', '.join(RECIPES)}.")
    changes = {name: value for name in CHANGES if (value := getattr(arguments, name)) is not None}
    return Plan(
        seeds=seeds, recipes=recipes, tracks=arguments.tracks, unseen=arguments.unseen, bars=arguments.bars, clips=arguments.clips,
        clip_s=arguments.clip_seconds, manner=_manner(arguments.manner), crate=arguments.crate, old_epochs=arguments.old_epochs,
        changes=changes,
    )  # fmt: skip


def _manner(name: str) -> str:
    from engine.experiment.plan import PlanError
    from engine.pocket.synth import MANNERS

    if name not in MANNERS:
        raise PlanError(f"There is no manner {name!r}: choose {', '.join(MANNERS)}.")
    return name


def _licence(settings: EngineSettings) -> str:
    from engine.checkpoints import Catalogue, describe

    info = describe(Catalogue(settings.checkpoint, settings.data / "checkpoints").find(None), None, default=True)
    return info.licence if info else "unknown: ask whoever trained the base"
