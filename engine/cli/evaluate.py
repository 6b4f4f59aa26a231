"""``evaluate``: two folders, or three, and the report as a table or as JSON. The figures are made in engine/evaluation."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from engine.cli.tools import require_audio_tools
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.evaluation.distances import Interval
    from engine.evaluation.report import Report


def evaluate(arguments: argparse.Namespace) -> int:
    """Raises EngineError for ``main`` to tell; prints nothing then."""
    from engine.evaluation import report

    try:
        reference, candidate = report.folder(arguments.reference), report.folder(arguments.candidate)
        training = report.folder(arguments.train) if arguments.train else []
    except report.EvaluationError as error:
        raise EngineError("bad_request", str(error)) from error
    require_audio_tools()

    import torch

    from engine.cli.progress import bar
    from engine.evaluation.embeddings import EmbedderUnavailable, embedder

    if arguments.threads:
        torch.set_num_threads(max(1, arguments.threads))
    try:
        with bar(not arguments.json and sys.stderr.isatty(), unit="files") as tell:
            tell("loading")
            found = report.evaluate(
                reference,
                candidate,
                training,
                embedder=embedder(arguments.embedder),
                prompt=arguments.prompt,
                seed=arguments.seed,
                tell=lambda done, of: tell("listening", done, of),
            )
    except EmbedderUnavailable as error:
        raise EngineError("bad_request", str(error)) from error
    except report.EvaluationError as error:
        raise EngineError("bad_audio", str(error)) from error
    print(json.dumps(found.record(), ensure_ascii=False) if arguments.json else table(found))
    return 0


def table(found: Report) -> str:
    """The report for a person."""
    rows = [
        ("reference", f"{found.reference.files} files, {found.reference.seconds / 60:.1f} minutes, {found.reference.windows} windows"),
        ("candidate", f"{found.candidate.files} files, {found.candidate.seconds / 60:.1f} minutes, {found.candidate.windows} windows"),
        ("FAD", f"{found.fad:.2f}   {found.embedder}, {found.windows_compared} windows of each"),
        ("KAD", _interval(found.kad) + (f"   two halves of the reference: {_interval(found.real_kad)}" if found.real_kad else "")),
    ]
    if found.kl is not None:
        rows.append(("KL of tags", f"{found.kl:.3f}"))
    if found.text_agreement is not None:
        rows.append(("text agreement", f"{found.text_agreement:.3f}"))
    if (copies := found.copies) is not None:
        rows.append(
            (
                "near-copies",
                f"{copies.share:.0%} of {copies.clips} clips   real excerpts: {copies.real_share:.0%} of {copies.real_excerpts}",
            )
        )
        rows += [("", f"{name}: likeness {likeness:.2f}, past {copies.threshold:.2f}") for name, likeness in copies.worst[:5]]
    for name in ("silent", "clipped", "collapsed"):
        rows.append((name, f"{getattr(found.checks, name):.0%} of clips   real excerpts: {getattr(found.real_checks, name):.0%}"))
    lines = [f"{name:<15} {text}" for name, text in rows]
    return "\n".join(lines + [f"note: {note}" for note in found.notes])


def _interval(found: Interval) -> str:
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})".replace("-", "−")
