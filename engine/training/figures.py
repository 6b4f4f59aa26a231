"""Figures of a run: what a step and a validation say, a JSON object a line, and the same for TensorBoard (``events``).

What draws them is in ``plots``.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.training import events


@dataclass(frozen=True, slots=True)
class Figures:
    """One line of the log. nats, held_out_nats: by codebook; the latter only where this step was validated (of the averaged weights)."""

    step: int
    of_steps: int
    epoch: float
    seconds: float
    loss: float | None = None
    nats: tuple[float, ...] = ()
    prior_kl: float | None = None
    rate: float | None = None
    held_out: float | None = None
    held_out_nats: tuple[float, ...] = ()
    best: bool = False

    def scalars(self) -> dict[str, float]:
        """By TensorBoard's tags, so that training and held-out loss stand in one group."""
        found = {"loss/training": self.loss, "loss/held_out": self.held_out, "rate": self.rate, "prior_kl": self.prior_kl}
        found |= {f"training/codebook_{k}": nats for k, nats in enumerate(self.nats)}
        found |= {f"held_out/codebook_{k}": nats for k, nats in enumerate(self.held_out_nats)}
        return {tag: value for tag, value in found.items() if value is not None}


class Log:
    """``metrics.jsonl``, and beside it TensorBoard's file: appended to as the run goes, cut back to the last state when it goes on."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.events = file.with_name(events.NAME)

    def write(self, figures: Figures, *, at: float | None = None) -> None:
        """One line; what is not known is left out. at: seconds since 1970, now if not given."""
        record = {name: getattr(figures, name) for name in figures.__slots__}
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({k: v for k, v in record.items() if v is not None and v != () and v is not False}) + "\n")
        events.append(self.events, time.time() if at is None else at, figures.step, figures.scalars())

    def read(self) -> list[Figures]:
        """All whole lines; the last may have been cut off by a kill, and is left out then."""
        found = []
        for line in self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else ():
            try:
                record: dict[str, Any] = json.loads(line)
            except ValueError:
                continue
            values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
            found.append(Figures(**values))
        return found

    def cut(self, step: int) -> None:
        """Forget what a killed run wrote after the state of ``step``."""
        if self.file.exists():
            kept = [figures for figures in self.read() if figures.step <= step]
            self.file.unlink()
            self.events.unlink(missing_ok=True)
            began = time.time() - (kept[-1].seconds if kept else 0.0)
            for figures in kept:
                self.write(figures, at=began + figures.seconds)
