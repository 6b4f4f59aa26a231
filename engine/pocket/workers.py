"""Training on several cores as several processes of one thread each, gradients averaged after every step.

One process with two threads waits at the end of every matrix product; on a machine that does other work too, that is most of its time
(measured: 18 s of audio a second with two threads, idle cores notwithstanding). Two processes meet once a step.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import multiprocessing
from torch.multiprocessing.spawn import spawn

from engine.training.team import Team


def run(workers: int, stage: Callable[..., Any], *args: Any) -> None:
    """Calls `stage(team, *args)` in `workers` processes (or right here, for one) and waits. Raises if one of them fails."""
    if workers <= 1:
        torch.set_num_threads(1)
        stage(Team(), *args)
        return
    with tempfile.TemporaryDirectory() as folder:
        spawn(_enter, (workers, str(Path(folder) / "meet"), stage, args), nprocs=workers)


def _end_with_parent() -> None:
    """A worker whose parent was killed must not go on and overwrite a later run's checkpoints."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _enter(rank: int, size: int, meeting: str, stage: Callable[..., Any], args: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
    try:
        stage(Team(rank, size), *args)
    finally:
        dist.destroy_process_group()
