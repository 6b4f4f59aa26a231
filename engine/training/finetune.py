"""The loop: steps, validations on tracks that it has not seen, early stopping, and a state on disk that survives kill -9.

::

    OUT/recipe.json           what was asked for; a run in the same folder goes on only with the same
    OUT/metrics.jsonl         a line a step, a line a validation
    OUT/state.safetensors     weights, their average, the optimizer, the step: where a resumed run goes on
    OUT/best.safetensors      the averaged weights of the best validation (without held-out segments: of the last step)

Which segments a step takes, and its dropout, depend on seed and step alone: a resumed run ends with the same bytes as an unbroken one.
Not here: losses (``losses``), what becomes of the result (``export``), the verdict (``gate``).
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.files import write_json
from engine.musicgen.generate import MusicGen
from engine.musicgen.model import LanguageModel
from engine.training.adapters import Adapter, attach
from engine.training.figures import Figures, Log
from engine.training.lean import lean
from engine.training.losses import collate, cross_entropy, held_out_nats, kl_to_base
from engine.training.memory import checkpointed
from engine.training.recipes import Recipe
from engine.training.segments import Deck, Rows, Segment, Step
from engine.training.states import load_checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint
from engine.training.team import Team

PLAIN_CAPTION = "techno"
"""What prior rows hear: the genre without the token."""
SAVE_EVERY = 25
SHORTEST_VALIDATION_INTERVAL = 5


class FinetuneError(Exception):
    """A finetune can't begin, or had to stop; the message says why and what would help."""


@dataclass(frozen=True, slots=True)
class Seconds:
    """What one step and one validation take."""

    step: float
    validation: float


@dataclass(slots=True)
class Outcome:
    """How a run ended. base: held-out nats before the first step; best: at the best validation. None without held-out segments."""

    steps: int
    best_step: int
    base: float | None
    best: float | None
    stopped_early: bool
    history: list[Figures] = field(default_factory=list)


@dataclass(slots=True)
class _Standing:
    """What a run knows of its own past; part of the state on disk."""

    step: int = 0
    seconds: float = 0.0
    base: float | None = None
    best: float | None = None
    best_step: int = 0
    worse: int = 0  # validations since the best

    def better(self, held_out: float) -> bool:
        """Take note of a validation; whether it is the best so far."""
        if self.best is None or held_out < self.best:
            self.best, self.best_step, self.worse = held_out, self.step, 0
            return True
        self.worse += 1
        return False


class Finetune:
    """One run, on a model that it changes. ``run`` it, then read ``result``; the model is left with the best weights in place."""

    def __init__(
        self,
        model: MusicGen,
        training: Sequence[Segment],
        held_out: Sequence[Segment],
        recipe: Recipe,
        out: Path,
        *,
        team: Team | None = None,
        plain: str = PLAIN_CAPTION,
    ) -> None:
        """Takes up what is in ``out``. Raises FinetuneError where that is of another recipe, base or set, or there is too little."""
        if not training:
            raise FinetuneError("There is nothing to train on: the manifest has no training segments. Add tracks and prepare it again.")
        if recipe.patience and not held_out:
            raise FinetuneError(
                "No segments are held out, so nothing could tell when to stop: prepare the crate with the preset 'bars', "
                "which keeps at least 5 tracks apart."
            )
        torch.manual_seed(recipe.seed)
        self.model, self.recipe, self.out, self.team, self.plain = model, recipe, out, team or Team(), plain
        self.deck = Deck(training, batch=recipe.batch, micro_batch=recipe.micro_batch, seed=recipe.seed)
        self.held_out = [Rows(part, tuple(segment.caption for segment in part)) for part in _parts(tuple(held_out), self.deck.micro_batch)]
        self.adapter: Adapter | None = None
        self._before: LanguageModel | None = None
        if recipe.weights == "adapter":
            self.adapter = attach(model.lm, recipe.adapter)
            self.parameters = self.adapter.parameters()
        else:
            if recipe.prior_weight and recipe.prior_share:
                self._before = copy.deepcopy(model.lm)
            model.lm.requires_grad_(True)
            self.parameters = list(model.lm.parameters())
        self.average = [p.detach().clone() for p in self.parameters]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=recipe.rate, betas=recipe.betas, weight_decay=recipe.weight_decay)
        self.steps = max(recipe.min_steps, math.ceil(recipe.epochs * self.deck.steps_per_epoch))
        self.validate_every = max(SHORTEST_VALIDATION_INTERVAL, round(self.deck.steps_per_epoch / recipe.validations_per_epoch))
        self.standing, self.log = _Standing(), Log(out / "metrics.jsonl")
        self._identity = {
            "recipe": json.loads(json.dumps(recipe.record())),
            "base_sha256": model.sha256,
            "training": [segment.id for segment in training],
            "held_out": [segment.id for segment in held_out],
        }
        self._resume()

    # ------------------------------------------------------------------------------------------------------------------ on disk
    def _resume(self) -> None:
        recipe_file = self.out / "recipe.json"
        if recipe_file.exists():
            if json.loads(recipe_file.read_text(encoding="utf-8")) != self._identity:
                raise FinetuneError(
                    f"{self.out} holds a run with another recipe, base or set of segments: choose another --out, or delete that folder."
                )
        elif self.team.leads:
            write_json(recipe_file, self._identity)
        saved = load_checkpoint(self.out / "state.safetensors")
        if saved is None:
            self._cut_log(-1)
            return
        tensors, facts = saved
        with torch.no_grad():
            for i, (parameter, average) in enumerate(zip(self.parameters, self.average, strict=True)):
                parameter.copy_(tensors[f"weights.{i}"])
                average.copy_(tensors[f"average.{i}"])
        restore_optimizer(self.optimizer, tensors, "adam")
        self.standing = _Standing(**facts)
        self._cut_log(self.standing.step)

    def _save(self) -> None:
        tensors: dict[str, Tensor] = {f"weights.{i}": p for i, p in enumerate(self.parameters)}
        tensors |= {f"average.{i}": p for i, p in enumerate(self.average)}
        tensors |= optimizer_tensors(self.optimizer, "adam")
        facts = {name: getattr(self.standing, name) for name in self.standing.__slots__}
        save_checkpoint(self.out / "state.safetensors", tensors, facts)

    def _cut_log(self, step: int) -> None:
        if self.team.leads:
            self.log.cut(step)

    def _save_best(self) -> None:
        save_checkpoint(self.out / "best.safetensors", {str(i): p for i, p in enumerate(self.average)}, {"step": self.standing.step})

    # ---------------------------------------------------------------------------------------------------------------- the loop
    def run(self, tell: Callable[[Figures], None] = lambda figures: None, *, stop: Callable[[], bool] = lambda: False) -> Outcome:
        """Steps until the plan is done, held-out loss no longer falls, or ``stop()`` says so (the state is saved then).

        Raises FinetuneError when a loss is not a number; the last good state stays on disk.
        """
        self.model.lm.eval()
        if self.adapter:
            self.adapter.train()
        if self.held_out and self.standing.base is None:
            base = self._validate()
            self.standing.base = self.standing.best = float(base.mean())
            if self.team.leads:
                self._save_best()  # so that where nothing gets better, the result is the base
            self._tell(tell, held_out=base, best=True)
        stopped = self._is_over()
        while self.standing.step < self.steps and not stopped and not stop():
            self._advance(tell)
            stopped = self._is_over()
            if self.team.leads and (self.standing.step % SAVE_EVERY == 0 or self.standing.step % self.validate_every == 0 or stopped):
                self._save()
        if self.team.leads:
            self._save()
            if not self.held_out:
                self._save_best()
        self.use_best()
        s = self.standing
        return Outcome(s.step, s.best_step if self.held_out else s.step, s.base, s.best, stopped, self.history())

    def measure(self) -> Seconds:
        """Do one step and one validation. The run is spoilt by it: for a forecast."""
        began = time.monotonic()
        if self.held_out:
            self._validate()
        validated = time.monotonic()
        self._gradients(self._step(0))
        self.optimizer.step()
        return Seconds(time.monotonic() - validated, validated - began)

    def _step(self, number: int) -> Step:
        recipe = self.recipe
        return self.deck.step(number, caption_dropout=recipe.caption_dropout, prior_share=recipe.prior_share, plain=self.plain)

    def _is_over(self) -> bool:
        return bool(self.recipe.patience and self.standing.worse >= self.recipe.patience)

    def _advance(self, tell: Callable[[Figures], None]) -> None:
        began, recipe, number = time.monotonic(), self.recipe, self.standing.step
        rate = recipe.rate * schedule(number, self.steps, recipe.warmup_share)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        step = self._step(number)
        self.optimizer.zero_grad(set_to_none=True)
        nats, kl = self._gradients(step)
        if not (torch.isfinite(nats).all() and torch.isfinite(kl)):
            raise FinetuneError(
                f"The loss was no longer a number at step {number} (segments {', '.join(step.ids[:4])} …): the last good state is kept in "
                f"{self.out}. A lower learning rate, or float32, may help."
            )
        nn.utils.clip_grad_norm_(self.parameters, recipe.clip_norm)
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(
                self.average, list[Tensor](self.parameters), 1 - min(recipe.ema, (number + 1) / (number + 10)) if recipe.ema else 1.0
            )
        self.standing.step += 1
        self.standing.seconds += time.monotonic() - began
        self._tell(tell, nats=nats, kl=kl, rate=rate)
        if self.held_out and (self.standing.step % self.validate_every == 0 or self.standing.step == self.steps):
            began = time.monotonic()
            held_out = self._validate()
            self.standing.seconds += time.monotonic() - began
            best = self.standing.better(float(held_out.mean()))
            if best and self.team.leads:
                self._save_best()
            self._tell(tell, held_out=held_out, best=best)

    def _gradients(self, step: Step) -> tuple[Tensor, Tensor]:
        """Accumulate the step's gradients, each process its share -> mean nats by codebook ``[K]`` and KL ``[]``, for the log."""
        lm, recipe, device = self.model.lm, self.recipe, self.model.lm.device
        nats, kl = torch.zeros(lm.config.num_codebooks, device=device), torch.zeros((), device=device)
        priors = sum(len(rows) for rows in step.prior)
        for index, (learn, prior) in enumerate(zip(step.learn, step.prior, strict=True)):
            if index % self.team.size != self.team.rank:
                continue
            torch.manual_seed((recipe.seed * 1_000_003 + self.standing.step) * 1_009 + index)  # dropout, the same whoever computes it
            with _precision(device):
                losses = cross_entropy(*self._prepared(learn)).mean(0) * (len(learn) / self.deck.batch)  # (K)
            losses.mean().backward()
            nats += losses.detach()
            if len(prior) and recipe.prior_weight:
                with _precision(device):
                    distance = kl_to_base(*self._prepared(prior), self._base()).sum() / priors
                (recipe.prior_weight * distance).backward()
                kl += distance.detach()
        self.team.average_gradients(self.parameters)
        self.team.average([nats, kl])
        if self.team.size > 1:  # each process had a part of the sum, not a sum of its own
            for parameter in self.parameters:
                if parameter.grad is not None:
                    parameter.grad *= self.team.size
            nats, kl = nats * self.team.size, kl * self.team.size
        return nats, kl

    def _prepared(self, rows: Rows) -> tuple[LanguageModel, Any]:
        lm = self.model.lm
        return checkpointed(lm) if self.recipe.checkpointing else lean(lm), collate(rows, lm, self.model.conditioner)

    @contextmanager
    def _base(self) -> Iterator[LanguageModel]:
        """The model as it was before the run."""
        if self.adapter is None:
            assert self._before is not None
            yield self._before
            return
        strength, self.adapter.strength = self.adapter.strength, 0.0
        try:
            yield self.model.lm
        finally:
            self.adapter.strength = strength

    def _validate(self) -> Tensor:
        """Held-out nats by codebook ``[K]`` of the averaged weights."""
        with self.averaged():
            return held_out_nats(self.model.lm, self.model.conditioner, self.held_out)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The averaged weights in place of the last ones, without dropout: what is validated and kept."""
        with self._weights(self.average):
            if self.adapter:
                self.adapter.train(False)
            try:
                yield
            finally:
                if self.adapter:
                    self.adapter.train()

    @contextmanager
    def _weights(self, other: Sequence[Tensor]) -> Iterator[None]:
        kept = [p.detach().clone() for p in self.parameters]
        self._put(other)
        try:
            yield
        finally:
            self._put(kept)

    @torch.no_grad()
    def _put(self, weights: Sequence[Tensor]) -> None:
        for parameter, value in zip(self.parameters, weights, strict=True):
            parameter.copy_(value)

    def _tell(
        self, tell: Callable[[Figures], None], *, nats: Tensor | None = None, kl: Tensor | None = None, rate: float | None = None,
        held_out: Tensor | None = None, best: bool = False,
    ) -> None:  # fmt: skip
        s = self.standing
        figures = Figures(
            step=s.step,
            of_steps=self.steps,
            epoch=round(s.step / self.deck.steps_per_epoch, 4),
            seconds=round(s.seconds, 2),
            loss=None if nats is None else round(float(nats.mean()), 5),
            nats=() if nats is None else tuple(round(float(x), 5) for x in nats),
            prior_kl=None if kl is None or not self.recipe.prior_weight else round(float(kl), 6),
            rate=rate,
            held_out=None if held_out is None else round(float(held_out.mean()), 6),
            held_out_nats=() if held_out is None else tuple(round(float(x), 5) for x in held_out),
            best=best,
        )
        if self.team.leads:
            self.log.write(figures)
        tell(figures)

    # --------------------------------------------------------------------------------------------------------------- the result
    def use_best(self) -> None:
        """Put the best weights into the model, as ``best.safetensors`` has them."""
        saved = load_checkpoint(self.out / "best.safetensors")
        assert saved is not None
        self._put([saved[0][str(i)] for i in range(len(self.parameters))])
        if self.adapter is not None:
            self.adapter.train(False)

    def history(self) -> list[Figures]:
        """The log so far."""
        return self.log.read()


def schedule(step: int, steps: int, warmup_share: float) -> float:
    """Linear warm-up, then a cosine down to a tenth."""
    warmup = math.ceil(steps * warmup_share)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _parts(segments: tuple[Segment, ...], size: int) -> Iterator[tuple[Segment, ...]]:
    for start in range(0, len(segments), size):
        yield segments[start : start + size]


def _precision(device: torch.device) -> Any:
    """bfloat16 where a GPU has it: float16 overflows in training (audiocraft#212), and a CPU gains too little to lose digits for."""
    wanted = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted)
