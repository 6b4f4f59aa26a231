"""The processes of one run, gradients averaged after every step: as ``accelerate launch`` or ``torchrun`` started them, or alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Team:
    """Who this process is among how many. Alone, every call is free."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """The one that logs and saves."""
        return self.rank == 0

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by its mean over the team."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([t.reshape(-1) for t in tensors])
        dist.all_reduce(flat)
        flat /= self.size
        offset = 0
        for t in tensors:
            t.copy_(flat[offset : offset + t.numel()].view_as(t))
            offset += t.numel()

    def average_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """After `backward`; a parameter that this process did not use counts as zero."""
        if self.size == 1:
            return
        for p in parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        self.average([p.grad for p in parameters if p.grad is not None])

    def wait(self) -> None:
        """Until all have come here."""
        if self.size > 1:
            dist.barrier()

    def follow(self, tensors: Sequence[Tensor], rank: int = 0) -> None:
        """Replaces each tensor by the leader's, or by that of the process `rank`."""
        if self.size > 1:
            for t in tensors:
                dist.broadcast(t, rank)


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
