"""torch's Muon (Jordan et al. 2024), its matrices shared out over a team: each process orthogonalises its part of the updates.

Every process doing all of them was a fifth of a step of the pocket's language model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from engine.training.states import optimizer_tensors, restore_optimizer
from engine.training.team import Team


class TeamMuon:
    """Muon for `matrices`, the same list in the same order in every process of the team."""

    def __init__(self, team: Team, matrices: Sequence[torch.nn.Parameter], *, weight_decay: float, momentum: float, ns_steps: int) -> None:
        self.team, self.matrices = team, list(matrices)
        own = self._part(team.rank)
        self.optimizer = torch.optim.Muon(own, 0.0, weight_decay=weight_decay, momentum=momentum, ns_steps=ns_steps)

    def _part(self, rank: int) -> list[torch.nn.Parameter]:
        return self.matrices[rank :: self.team.size]

    def step(self, rate: float) -> None:
        """One update, from gradients that are the same everywhere."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        for rank in range(self.team.size):
            self.team.follow([p.data for p in self._part(rank)], rank)

    def tensors(self) -> dict[str, Tensor]:
        """The whole team's state, `muon.<number of the matrix>.<name>`; every process has to ask for it, since they tell each other."""
        mine = {_number(name): value for name, value in optimizer_tensors(self.optimizer, "muon").items()}
        whole = {}
        for rank in range(self.team.size):
            for j, matrix in enumerate(self._part(rank)):
                buffer = mine[j] if rank == self.team.rank else torch.empty_like(matrix.data)
                self.team.follow([buffer], rank)
                whole[f"muon.{rank + j * self.team.size}.momentum_buffer"] = buffer
        return whole

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `tensors`, whatever the size of the team that wrote them."""
        rank, size = self.team.rank, self.team.size
        state = {name: value for name, value in tensors.items() if name.startswith("muon.") and _number(name) % size == rank}
        restore_optimizer(self.optimizer, {f"muon.{_number(n) // size}.momentum_buffer": v for n, v in state.items()}, "muon")


def _number(name: str) -> int:
    return int(name.split(".")[1])
