"""Stages `lm` and `tempo`: language model and text encoder, trained together. Their data is in lm_codes.py, the modules are in lm.py.

    lm      tracks whose beat is a whole number of frames: a bar comes back as the same codes, and can be learned at all
    tempo   goes on from there with tracks in any tempo, begun anywhere in a frame: a bar comes back as other codes for the same sounds

What made the beat steady (measured; figures in weights/README.md): tempi whose beat is a whole number of frames, so that a bar comes back
as the same codes; segments that mostly start on a downbeat; thousands of small steps rather than hundreds of large ones.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.musicgen.delay import apply_delay
from engine.pocket import text
from engine.pocket.codec_training import schedule
from engine.pocket.listening import listen
from engine.pocket.lm import BEAT_FRAMES, PocketLM, PocketSizes
from engine.pocket.lm_codes import Batch, Crate, encode_further, frozen_codec, open_crate, read_further
from engine.pocket.log import FigureLog
from engine.pocket.muon import TeamMuon
from engine.pocket.quantiser import usage
from engine.training.states import load_checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint
from engine.training.team import Team

CODEBOOK_WEIGHTS = (0.4, 0.2, 0.2, 0.2)  # the first carries kick and bass: without it nothing else is in time


@dataclass(frozen=True, slots=True)
class LMTraining:
    """Settings of the stage `lm`. `tokens` frames a step, cut into segments of one of `segments` frames (drawn with `shares`)."""

    stage: ClassVar[str] = "lm"
    further: ClassVar[str] = "more"  # the kind of further tracks (lm_codes.py)
    beat_parts: ClassVar[int] = 1  # of a frame, in which the time until the next beat is counted

    steps: int = 5_000
    tokens: int = 3072
    segments: tuple[int, ...] = (48, 128, 256, 512)
    shares: tuple[float, ...] = (0.4, 0.15, 0.25, 0.2)
    matrix_rate: float = 0.02  # Muon
    rate: float = 2e-3  # AdamW
    beat_weight: float = 0.5  # of the loss of counting
    null_share: float = 0.12  # segments without text, for guidance and for unconditional takes
    tail: float = 0.3
    first_tracks: int = 0  # further tracks (lm_codes.py) before the first step …
    new_tracks: int = 500  # … and how many come in …
    new_every: int = 250  # … after so many steps, so that hardly any is known by heart …
    more_tracks: int = 8_000  # … until there are so many
    more_bars: int = 8
    seed: int = 0
    save_every: int = 50
    log_every: int = 50
    measure_every: int = 250
    listen_every: int = 500

    def tracks_at(self, step: int) -> int:
        """How many further tracks there are to draw from at a step."""
        return min(self.more_tracks, self.first_tracks + self.new_tracks * (step // self.new_every))


@dataclass(frozen=True, slots=True)
class TempoTraining(LMTraining):
    """Settings of the stage `tempo`, which begins with the averaged weights of the stage `lm` in half precision, as a checkpoint has them.

    A further track counts thrice: as rendered, and twice as from a turntable.
    """

    stage: ClassVar[str] = "tempo"
    further: ClassVar[str] = "any"
    beat_parts: ClassVar[int] = 4  # a beat at 128 BPM is 23.44 frames, at 130 23.08

    matrix_rate: float = 0.015
    rate: float = 1.5e-3
    tail: float = 0.5
    first_tracks: int = 600
    new_tracks: int = 200
    more_tracks: int = 4_000
    unseen_tracks: int = 48


# ------------------------------------------------------------------------------------------------------------------------ loss
def cross_entropy(model: PocketLM, batch: Batch) -> tuple[Tensor, Tensor]:
    """In nats: of the codes, per codebook [K], and of the frames until the next beat []."""
    pad, T = model.sizes.card, batch.codes.shape[2]
    sequence = apply_delay(batch.codes, pad)  # (B, K, 1 + T + K − 1)
    logits, beats = model(sequence[:, :, :-1], batch.ids, batch.mask, batch.has_text)  # (B, K, S, card), (B, S, classes)
    targets = sequence[:, :, 1:]
    losses = [
        F.cross_entropy(logits[:, k].float().flatten(0, 1), targets[:, k].flatten(), ignore_index=pad) for k in range(logits.shape[1])
    ]
    return torch.stack(losses), F.cross_entropy(
        beats[:, :T].float().flatten(0, 1), (batch.beats * model.beat_parts).round().long().flatten()
    )


# ------------------------------------------------------------------------------------------------------------------------ train
class LMRun:
    """The state of a run: model, its average, two optimizers, and where it stands."""

    def __init__(self, team: Team, out: Path, settings: LMTraining, sizes: PocketSizes | None) -> None:
        torch.manual_seed(settings.seed)
        self.team, self.out, self.settings = team, out, settings
        self.path, self.log = out / f"{settings.stage}.safetensors", FigureLog(out / f"{settings.stage}.jsonl")
        self.tokenizer, self.codec = text.train(out, seed=settings.seed), frozen_codec(out)
        self.crate, self.held_out = (open_crate(out, split, self.tokenizer) for split in ("train", "held_out"))
        if isinstance(settings, TempoTraining):
            sizes = PocketSizes(**_saved(out, LMTraining.stage)[1]["sizes"])
        self.sizes = sizes or PocketSizes(card=self.codec.config.codebook_size, vocabulary=len(self.tokenizer))
        self.model, self.averaged = (PocketLM(self.sizes, beat_parts=settings.beat_parts) for _ in range(2))
        self._begin()
        self.averaged.eval()
        self.averaged.load_state_dict(self.model.state_dict())
        self.matrices = self.model.hidden_matrices()
        hidden = {id(p) for p in self.matrices}
        self.others = [p for p in self.model.parameters() if id(p) not in hidden]
        self.muon = TeamMuon(team, self.matrices, weight_decay=0.01, momentum=0.95, ns_steps=4)
        self.adam = torch.optim.AdamW(self.others, settings.rate, betas=(0.9, 0.97), weight_decay=0.0)
        weights = torch.tensor(CODEBOOK_WEIGHTS[: self.sizes.num_codebooks])
        self.weights = weights / weights.sum()
        self.step, self.more, self.recent = 0, 0, list[Tensor]()
        seconds = self._resume()
        self.begun = time.monotonic() - seconds

    def _begin(self) -> None:
        """For the stage `tempo`: the weights to begin with, and tracks in any tempo to be measured on."""
        settings = self.settings
        if not isinstance(settings, TempoTraining):
            return
        begun = load_trained(self.out, LMTraining.stage).half().float().state_dict()
        self.model.load_state_dict({k: v for k, v in begun.items() if not k.startswith("beat.")}, strict=False)
        unseen = range(settings.unseen_tracks)
        encode_further(self.team, self.out, self.codec, "unseen", unseen, bars=settings.more_bars)
        self.crate.grid = False
        self.held_out = Crate(*read_further(self.out, "unseen", unseen), self.tokenizer, grid=False)

    def _resume(self) -> float:
        """Takes up the last checkpoint, if there is one; returns the seconds that it took so far."""
        saved = load_checkpoint(self.path)
        if saved is None:
            if self.team.leads:
                alive = usage(torch.cat([c[:, :200] for c in list(self.crate.codes.values())[:300]], 1)[None].long(), self.sizes.card)
                count = sum(p.numel() for p in self.model.parameters())
                used, bits = [u for u, _ in alive], [b for _, b in alive]
                self.log.write(stage=self.settings.stage, parameters=count, tracks=len(self.crate.tracks), code_usage=used, bits=bits)
            return 0.0
        tensors, facts = saved
        self.model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        self.averaged.load_state_dict({k[9:]: v for k, v in tensors.items() if k.startswith("averaged.")})
        self.muon.restore(tensors)
        restore_optimizer(self.adam, tensors, "adam")
        self.step = facts["step"]
        if self.team.leads:
            self.log.write(stage=self.settings.stage, resumed_at=self.step)
        return float(facts["seconds"])

    def save(self) -> None:
        """Everything that `_resume` reads, in one atomic file, which the leader writes; all have to call this."""
        muon = self.muon.tensors()
        if not self.team.leads:
            return
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"averaged.{k}": v for k, v in self.averaged.state_dict().items()}
        tensors |= muon | optimizer_tensors(self.adam, "adam")
        facts = {"step": self.step, "seconds": time.monotonic() - self.begun, "sizes": self.sizes.as_dict()}
        save_checkpoint(self.path, tensors, facts | {"settings": asdict(self.settings)})

    def _gather(self) -> None:
        """Makes or reads the further tracks that belong to this step."""
        for step in range(0, self.step + 1, self.settings.new_every):
            span = range(self.more, self.settings.tracks_at(step))
            if span:
                encode_further(self.team, self.out, self.codec, self.settings.further, span, bars=self.settings.more_bars)
                self.crate.add(*read_further(self.out, self.settings.further, span))
                self.more = span.stop

    def _batch(self) -> Batch:
        """This process's part of the step's batch: of the step alone, so that a resumed run sees what an unbroken one would."""
        settings = self.settings
        frames = int(np.random.default_rng([settings.seed, 4, self.step]).choice(settings.segments, p=settings.shares))
        rng = np.random.default_rng([settings.seed, 5, self.step, self.team.rank])
        return self.crate.batch(rng, frames, max(1, settings.tokens // frames // self.team.size), settings.null_share)

    def advance(self) -> float:
        """One step; returns the schedule's factor."""
        settings = self.settings
        self._gather()
        factor = schedule(self.step, settings.steps, warmup=150, tail=settings.tail)
        for group in self.adam.param_groups:
            group["lr"] = settings.rate * factor
        with torch.autocast("cpu", torch.bfloat16):
            losses, beat = cross_entropy(self.model, self._batch())
        self.model.zero_grad(set_to_none=True)
        ((losses * self.weights).sum() + settings.beat_weight * beat).backward()
        self.team.average_gradients([*self.others, *self.matrices])
        nn.utils.clip_grad_norm_(self.others, 1.0)
        self.muon.step(settings.matrix_rate * factor)
        self.adam.step()
        self.step += 1
        self.recent.append(torch.cat([losses.detach(), beat.detach()[None]]))
        with torch.no_grad():
            keep = min(0.998, self.step / (self.step + 20))
            torch._foreach_lerp_(list(self.averaged.parameters()), list(self.model.parameters()), 1 - keep)
        return factor

    def report(self, factor: float) -> None:
        """One line of figures; now and then those of held-out tracks, and of clips."""
        settings = self.settings
        *nats, beat = (round(float(x), 3) for x in torch.stack(self.recent[-settings.log_every :]).mean(0))
        figures: dict[str, object] = {"nats": nats, "beat_nats": beat}
        if self.step % settings.measure_every == 0:
            figures |= {"tracks": len(self.crate.tracks)} | held_out_figures(self.averaged, self.held_out)
        if self.step % settings.listen_every == 0:
            figures |= listen(self.averaged, self.codec, self.tokenizer)
        self.log.write(stage=self.settings.stage, step=self.step, seconds=round(time.monotonic() - self.begun), rate=factor, **figures)


def train(team: Team, out: Path, settings: LMTraining, sizes: PocketSizes | None = None) -> None:
    """Trains to `settings.steps`, from the stage's checkpoint if it is there. Raises FileNotFoundError without codes."""
    run = LMRun(team, out, settings, sizes)
    while run.step < settings.steps:
        factor = run.advance()
        if team.leads and run.step % settings.log_every == 0:
            run.report(factor)
        if run.step % settings.save_every == 0 or run.step == settings.steps:
            run.save()


@torch.no_grad()
def held_out_figures(model: PocketLM, crate: Crate) -> dict[str, object]:
    """On unseen tracks, the same segments every time: nats per codebook and of the beat count; and of the drills' first beat, which only
    the caption's tempo foretells, the nats of the count and the share of segments whose length of a beat is read right, within ¼ frame."""
    rng = np.random.default_rng(11)
    with torch.autocast("cpu", torch.bfloat16):
        losses, beats = zip(*(cross_entropy(model, crate.batch(rng, 384, 8, 0.0)) for _ in range(4)), strict=True)
        batch = crate.batch(rng, 48, 64, 0.0)
        sequence = apply_delay(batch.codes, model.sizes.card)
        counted = model(sequence[:, :, :-1], batch.ids, batch.mask, batch.has_text)[1].float()  # (B, S, classes)
    first = torch.arange(48) < batch.beats[:, :1]  # (B, T): before the second kick
    counted, parts = counted[:, :48], model.beat_parts
    classes = (batch.beats * parts).round().long()
    return {
        "held_out_nats": [round(float(x), 3) for x in torch.stack(losses).mean(0)],
        "held_out_beat_nats": float(torch.stack(beats).mean()),
        "first_beat_nats": float(F.cross_entropy(counted[first], classes[first])),
        "tempo_read": float(((counted[:, 0].argmax(-1) / parts - batch.beats[:, 0]).abs() <= 0.25).float().mean()),
    }


def load_trained(out: Path, stage: str | None = None) -> PocketLM:
    """The averaged model of a stage's last checkpoint; of the last stage that has one, if none is named. Raises FileNotFoundError."""
    tensors, facts = _saved(out, stage)
    model = PocketLM(PocketSizes(**facts["sizes"]), beat_parts=len(tensors["averaged.beat.bias"]) // BEAT_FRAMES)
    model.load_state_dict({k[9:]: v for k, v in tensors.items() if k.startswith("averaged.")})
    return model.eval()


def _saved(out: Path, stage: str | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    for name in [stage] if stage else [TempoTraining.stage, LMTraining.stage]:
        saved = load_checkpoint(out / f"{name}.safetensors")
        if saved is not None:
            return saved
    raise FileNotFoundError(f"no language model under {out}: run the stage `lm` first")
