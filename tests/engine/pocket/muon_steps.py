"""PROCESSES OUT [RESUME]: a team takes two steps of Muon and each of it writes its matrices and the whole state to OUT_<rank>."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from engine.pocket import workers
from engine.pocket.muon import TeamMuon
from engine.training.team import Team


def steps(team: Team, path: Path, resume: Path | None) -> None:
    torch.manual_seed(3)
    matrices = [torch.nn.Parameter(torch.randn(shape)) for shape in ((4, 6), (8, 4), (5, 5))]
    muon = TeamMuon(team, matrices, weight_decay=0.01, momentum=0.95, ns_steps=4)
    if resume is not None:
        saved = load_file(resume)
        muon.restore(saved)
        for i, p in enumerate(matrices):
            p.data.copy_(saved[f"matrix.{i}"])
    for _ in range(2):
        for p in matrices:
            p.grad = torch.randn_like(p)
        muon.step(0.02)
    state = muon.tensors() | {f"matrix.{i}": p.data for i, p in enumerate(matrices)}
    save_file(state, path.with_name(f"{path.name}_{team.rank}"))


if __name__ == "__main__":
    workers.run(int(sys.argv[1]), steps, Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
