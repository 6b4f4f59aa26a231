"""``finetune-plot``: from runs' figures to one picture. How it is drawn is in ``engine.training.plots``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from engine.cli.make import write
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.training.figures import Figures

LOG = "metrics.jsonl"


def plot(arguments: argparse.Namespace) -> int:
    """Raises EngineError where a run has no figures yet."""
    from engine.training import plots
    from engine.training.figures import Log

    runs: dict[str, list[Figures]] = {}
    for path in arguments.runs:
        file = path / LOG if path.is_dir() else path
        history = Log(file).read() if file.is_file() else []
        if not history:
            raise EngineError("bad_request", f"{path} holds no figures of a run: give the --out folder of a finetune, or its {LOG}.")
        runs[_name(file, runs)] = history
    out: Path = arguments.out or _folder(arguments.runs[0]) / "loss.png"
    if out.suffix.lower() != ".png":
        raise EngineError("bad_request", f"{out}: curves are drawn as PNG, so name a file that ends in .png.")
    out.parent.mkdir(parents=True, exist_ok=True)
    if len(runs) == 1:
        ((name, history),) = runs.items()
        picture = plots.draw(history, title=arguments.title or name)
    else:
        picture = plots.compare(runs, title=arguments.title)
    write(out, picture)
    told = {name: _told(history) for name, history in runs.items()}
    if arguments.json:
        print(json.dumps({"out": str(out), "runs": told}, ensure_ascii=False))
        return 0
    width = max(len(name) for name in runs)
    for name, facts in told.items():
        lowest = (
            "nothing held out" if facts["held_out"] is None else f"unseen tracks {facts['base']:.3f} → {facts['held_out']:.3f} nats a code"
        )
        print(f"{name:<{width}}  {facts['steps']} steps, {lowest}")
    print(out)
    return 0


def _told(history: list[Figures]) -> dict[str, float | int | None]:
    held_out = [figures.held_out for figures in history if figures.held_out is not None]
    return {
        "steps": history[-1].step,
        "base": held_out[0] if held_out else None,
        "held_out": min(held_out) if held_out else None,
    }


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _name(file: Path, taken: dict[str, list[Figures]]) -> str:
    """The run's folder; with the one above it where two are called the same."""
    folder = file.resolve().parent
    name = folder.name if folder.name not in taken else f"{folder.parent.name}/{folder.name}"
    while name in taken:
        name += "'"
    return name
