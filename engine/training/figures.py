"""Figures of a run: what a step and a validation say, a JSON object a line. What draws them is in ``plots``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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


class Log:
    """``metrics.jsonl``: appended to as the run goes, cut back to the last state when it goes on."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def write(self, figures: Figures) -> None:
        """One line; what is not known is left out."""
        record = {name: getattr(figures, name) for name in figures.__slots__}
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({k: v for k, v in record.items() if v is not None and v != () and v is not False}) + "\n")

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
            for figures in kept:
                self.write(figures)
