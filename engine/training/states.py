"""The state of a training run on disk: one safetensors file, the tensors and a JSON header for whatever is not a tensor (step, settings),
so that both can never disagree. No pickles. What is in a state is for those to say who train.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from engine.files import write_atomically


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
