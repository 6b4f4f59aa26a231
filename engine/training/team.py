"""The processes of one run, as ``accelerate launch`` or ``torchrun`` started them; alone without either."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from engine.pocket.workers import Team


@contextmanager
def team_of_launch() -> Iterator[Team]:
    """Reads RANK and WORLD_SIZE, which both launchers set; NCCL on GPUs, Gloo on CPUs. Each process should use GPU LOCAL_RANK."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team()
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Team(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()
