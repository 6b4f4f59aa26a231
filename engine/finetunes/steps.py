"""What a finetune's process does, step by step: ``run``. Each step finds on the disk what an interrupted one left, and goes on there.

::

    FOLDER/job.json             the request, and what the engine knew when it came          (``jobs``)
    FOLDER/tracks/SHA256.audio  the tracks: further names of the engine's files, so that nothing is lost when it makes room
    FOLDER/work/bars/           dataset (alice-2023/ beside it, for that recipe)            (``dataset``)
    FOLDER/work/forecast.json   what was forecast
    FOLDER/work/run/            the training's state
    FOLDER/work/trained.json    how training ended, once what it made is in made/
    FOLDER/work/report/         clips, and the report card                                  (``reporting``)
    FOLDER/work/made/           adapter/ or a whole checkpoint, then card.json and report/: renamed to ENGINE_DATA/checkpoints/ID at last

Not here: who starts it and hears what it tells (``desk``), the events' numbers.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from engine.api.base import Payload
from engine.api.finetunes import ReportCard
from engine.checkpoints import ADAPTER_FOLDER
from engine.crate.disk import read_json
from engine.errors import EngineError
from engine.evaluation.embeddings import Embedder
from engine.files import write_json
from engine.finetunes import dataset
from engine.finetunes.dataset import Data
from engine.finetunes.forecasting import Estimate, forecast
from engine.finetunes.jobs import REPORT_FOLDER, served_card
from engine.finetunes.reporting import CARD, FILES, Run, ears, report
from engine.finetunes.work import Work
from engine.musicgen import checkpoint
from engine.musicgen.generate import MusicGen
from engine.training import adapters, export, plots, sets
from engine.training.figures import Figures
from engine.training.finetune import Finetune, FinetuneError, Outcome
from engine.training.losses import held_out_nats
from engine.training.segments import Rows
from engine.training.sets import FinetuneSet

PROGRESS_S = 2.0
"""Progress is told this often at most, in seconds; validations and the last step always."""


def run(work: Work) -> tuple[str, ReportCard]:
    """The checkpoint's id, and its report card. Raises EngineError in words for who asked, Stopped, OSError where the disk is full."""
    served = work.settings.data / "checkpoints" / work.request.id
    if (card := served_card(served, work.request.id)) is not None:
        return work.request.id, card  # killed after the very last step
    listener = ears()
    data = dataset.prepare(work)
    trained = read_json(work.folder / "trained.json") or _train(work, data)
    work.go_on()
    card = _report(work, data, trained, listener)
    work.go_on()
    facts = {"owner": work.request.owner, "gate": card.gate, "report": card.model_dump(mode="json"), "finetune": work.request.id}
    write_json(work.made / "card.json", trained["card"] | facts)
    served.parent.mkdir(parents=True, exist_ok=True)
    work.made.rename(served)
    return work.request.id, card


# ---- training


def _train(work: Work, data: Data) -> dict[str, Any]:
    """Forecast, train, and write what was learned. What is to be said of it is in trained.json, written last."""
    model = work.base()
    found = _segments(work, data, model)
    taught = found if work.recipe.patience else replace(found, held_out=())  # what never stops has nothing to stop by
    try:
        if read_json(work.folder / "forecast.json") is None:
            estimate = forecast(model, taught, work.recipe, work.clips, plain=work.plain)
            work.require_room(estimate.disk_bytes)
            work.tell(_forecast_event(estimate, found, data))
            write_json(work.folder / "forecast.json", estimate.record())
            work.go_on()
            model = work.base()
        base_nats = None if taught.held_out else _nats(work, model, found)
        folder = work.folder / "run"
        folder.mkdir(exist_ok=True)
        training = Finetune(model, taught.training, taught.held_out, work.recipe, folder, plain=work.plain)
        outcome = training.run(_Progress(work, training), stop=work.stop)
    except FinetuneError as error:
        raise EngineError("bad_request", str(error)) from error
    work.go_on()
    if base_nats is not None:
        outcome.base, outcome.best = base_nats, _nats(work, model, found)
    trained = {
        "card": _write(work, training, outcome, found),
        "steps": outcome.steps,
        "best_step": outcome.best_step,
        "held_out_base": outcome.base,
        "held_out": outcome.best,
        "stopped_early": outcome.stopped_early,
        "train_s": max((figures.seconds for figures in outcome.history), default=0.0),
        "tracks": found.training_tracks,
        "held_out_tracks": found.held_out_tracks,
        "segments": len(found.training),
        "held_out_segments": len(found.held_out),
    }
    write_json(work.folder / "trained.json", trained)
    return trained


def _segments(work: Work, data: Data, model: MusicGen) -> FinetuneSet:
    found = sets.read(data.bars, model, codec=work.target.codec)
    if data.old is None:
        return found
    old = sets.read(data.old, model, codec=work.target.codec, pad_to_window=work.recipe.pad_to_window)
    return replace(old, held_out=found.held_out, held_out_tracks=found.held_out_tracks, token=found.token)


def _nats(work: Work, model: MusicGen, data: FinetuneSet) -> float:
    """On held-out tracks, for a recipe that does not look at them itself."""
    size = work.recipe.micro_batch
    parts = [data.held_out[i : i + size] for i in range(0, len(data.held_out), size)]
    rows = [Rows(part, tuple(segment.caption for segment in part)) for part in parts]
    return float(held_out_nats(model.lm, model.conditioner, rows).mean())


def _write(work: Work, training: Finetune, outcome: Outcome, data: FinetuneSet) -> dict[str, Any]:
    """What is served: an adapter, or a whole checkpoint. Returns what its card says so far."""
    shutil.rmtree(work.made, ignore_errors=True)
    base, base_sha256 = work.facts.base, training.model.sha256
    if training.adapter is not None:
        adapters.save(training.adapter, work.made / ADAPTER_FOLDER, base=base, base_sha256=base_sha256)
    else:
        checkpoint.export(training.model, work.made)
    name, licence = work.request.name, work.facts.licence
    return export.card(training, outcome, data, name=name, parent=base, licence=licence, base_sha256=base_sha256)


class _Progress:
    """Tells steps, not too often; validations with the curve so far."""

    def __init__(self, work: Work, training: Finetune) -> None:
        self._work, self._training = work, training
        self._told_at = -PROGRESS_S
        self._began_s, self._began_step = training.standing.seconds, training.standing.step
        self._held_out = training.standing.best
        self._loss: float | None = None

    def __call__(self, figures: Figures) -> None:
        self._loss = self._loss if figures.loss is None else figures.loss
        validated = figures.held_out is not None
        if not validated and figures.step < figures.of_steps and time.monotonic() - self._told_at < PROGRESS_S:
            return
        self._told_at = time.monotonic()
        standing, request, picture = self._training.standing, self._work.request, None
        if validated:
            self._held_out = figures.held_out
            title = f"{request.name}: {request.recipe} on {self._work.facts.base}"
            picture = Payload.of(plots.draw(self._training.history(), title=title), "image/png", "png").model_dump()
        steps = figures.step - self._began_step
        pace_s = (figures.seconds - self._began_s) / steps if steps else 0.0
        self._work.tell(
            {
                "event": "progress",
                "step": figures.step,
                "of_steps": figures.of_steps,
                "loss": self._loss,
                "held_out": self._held_out,
                "held_out_base": standing.base,
                "best": standing.best,
                "best_step": None if standing.best is None else standing.best_step,
                "eta_s": round(max(0.0, pace_s * (figures.of_steps - figures.step)), 1),
                "picture": picture,
            }
        )


def _forecast_event(estimate: Estimate, found: FinetuneSet, data: Data) -> dict[str, Any]:
    return {
        "event": "forecast",
        "seconds": round(estimate.seconds, 1),
        "memory_bytes": estimate.memory_bytes,
        "disk_bytes": estimate.disk_bytes,
        "niceness": estimate.niceness,
        "threads": estimate.threads,
        "tracks": found.training_tracks,
        "held_out_tracks": found.held_out_tracks,
        "segments": len(found.training),
        "held_out_segments": len(found.held_out),
        "steps": estimate.steps,
        "trained_parameters": estimate.trained_parameters,
        "advice": list(estimate.advice),
        "left_out": list(data.left_out),
    }


# ---- the report card


def _report(work: Work, data: Data, trained: dict[str, Any], listener: Embedder) -> ReportCard:
    facts = {name: value for name, value in trained.items() if name != "card"}
    request = work.request
    told = Run(
        name=request.name,
        base=work.facts.base,
        recipe=request.recipe,
        token=request.token,
        licence=work.facts.licence,
        left_out=data.left_out,
        **facts,
    )
    folder = work.folder / REPORT_FOLDER
    card = report(told, work.base, work.finetuned, data.segments(), folder, clips=work.clips, listener=listener, tell=_judging(work))
    shutil.rmtree(work.made / REPORT_FOLDER, ignore_errors=True)
    shutil.copytree(folder / FILES, work.made / REPORT_FOLDER)
    shutil.copy(folder / CARD, work.made / REPORT_FOLDER / CARD)
    return card


def _judging(work: Work) -> Callable[[str, int, int], None]:
    last, told_at = "", 0.0

    def tell(what: str, done: int, of: int) -> None:
        nonlocal last, told_at
        now = time.monotonic()
        if what != last or (what == "clips" and (done == of or now - told_at >= PROGRESS_S)):
            work.tell({"event": "clips", "done": done, "of": of} if what == "clips" else {"event": "judging"})
            last, told_at = what, now
        work.go_on()

    return tell
