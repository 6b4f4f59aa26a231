"""Figures of a stage, one JSON object a line."""

from __future__ import annotations

import json
import time
from pathlib import Path


class FigureLog:
    """One JSON object a line, appended and flushed; also printed, so that a watcher sees it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path

    def write(self, **figures: object) -> None:
        """Adds the time and writes the line."""
        rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}
        line = json.dumps({"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **rounded})
        with self.path.open("a", encoding="utf-8") as f:
            f.write(line + "\n")
        print(line, flush=True)
