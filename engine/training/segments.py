"""Segments: what training sees. Which ones a step takes, with which captions, is a function of seed and step alone, so that a resumed run
sees what an unbroken one would. Reading them from a crate is in ``manifest``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """codes: ``[K, T]`` integers. track: the SHA-256 of the recording that it was cut from."""

    id: str
    track: str
    codes: Tensor
    caption: str


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Segments side by side, each with the text that it is trained under; None is the null condition."""

    segments: tuple[Segment, ...]
    prompts: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.segments)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What one step learns from: micro-batches for the cross-entropy, and as many of prior rows, maybe empty."""

    learn: tuple[Rows, ...]
    prior: tuple[Rows, ...]

    @property
    def ids(self) -> list[str]:
        """The segments by name, for a message about a bad batch."""
        return [segment.id for rows in self.learn for segment in rows.segments]


class Deck:
    """Training segments in a new order every epoch."""

    def __init__(self, segments: Sequence[Segment], *, batch: int, micro_batch: int, seed: int) -> None:
        if not segments:
            raise ValueError("there are no segments to train on")
        self.segments = tuple(segments)
        self.batch, self.micro_batch, self.seed = batch, min(micro_batch, batch), seed

    @property
    def steps_per_epoch(self) -> float:
        return len(self.segments) / self.batch

    def step(self, number: int, *, caption_dropout: float, prior_share: float, plain: str) -> Step:
        """The batch of a step, counted from 0. ``plain``: the caption of the prior rows."""
        rng = np.random.default_rng([self.seed, 1, number])
        chosen = [self._at(number * self.batch + i) for i in range(self.batch)]
        prompts = [None if rng.random() < caption_dropout else segment.caption for segment in chosen]
        learn = tuple(
            Rows(tuple(chosen[i : i + self.micro_batch]), tuple(prompts[i : i + self.micro_batch]))
            for i in range(0, self.batch, self.micro_batch)
        )
        priors = [self.segments[int(rng.integers(len(self.segments)))] for _ in range(round(self.batch * prior_share))]
        parts = np.array_split(np.arange(len(priors)), len(learn))
        prior = tuple(Rows(tuple(priors[i] for i in part), (plain,) * len(part)) for part in parts)
        return Step(learn, prior)

    def _at(self, position: int) -> Segment:
        """The ``position``-th draw of the run: each epoch is its own shuffle."""
        epoch, place = divmod(position, len(self.segments))
        order = np.random.default_rng([self.seed, 2, epoch]).permutation(len(self.segments))
        return self.segments[int(order[place])]
