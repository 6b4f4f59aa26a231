"""Writing so that kill -9 at any moment leaves either the old file or the new one, and logs of figures. No pickles anywhere.

A checkpoint is one safetensors file: the tensors, and a JSON header for whatever is not a tensor (step, settings), so that both can never
disagree.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """`write` fills a temporary neighbour, which is synced and renamed over `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        temporary.chmod(0o644)  # safetensors' writer leaves files that only their owner reads
        with temporary.open("rb") as f:
            os.fsync(f.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Atomic, readable JSON."""
    write_atomically(path, lambda p: p.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"))


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Tensors and JSON-able `facts` in one atomic file."""
    flat = {k: v.detach().contiguous().clone() for k, v in tensors.items()}
    write_atomically(path, lambda p: save_file(flat, p, metadata={"facts": json.dumps(facts)}))


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What `save_checkpoint` wrote, or None if there is nothing yet."""
    if not path.exists():
        return None
    with safe_open(path, "pt") as f:
        facts = json.loads((f.metadata() or {}).get("facts", "{}"))
        return {k: f.get_tensor(k) for k in f.keys()}, facts  # noqa: SIM118 - not a dict


def optimizer_tensors(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """An optimizer's state as named tensors: `prefix.<parameter number>.<name>`."""
    state = optimizer.state_dict()["state"]
    return {f"{prefix}.{i}.{k}": torch.as_tensor(v) for i, entries in state.items() for k, v in entries.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], prefix: str) -> None:
    """The inverse of `optimizer_tensors`."""
    whole = optimizer.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(prefix + "."):
            _, number, key = name.rsplit(".", 2)
            state.setdefault(int(number), {})[key] = value
    whole["state"] = state
    optimizer.load_state_dict(whole)


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
