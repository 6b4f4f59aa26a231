"""Stage `sharpen`: the codec's decoder learns on, from a loss that no smear gets past and from more than techno. Codes stay as they are:
encoders and codebooks are the frozen ones of OUT/codec.safetensors, on which a language model depends.

    techno tracks ┐                         ┌─ spectral loss ┐
                  ├─▶ codes ─▶ decoder ─▶ y ┤                ├─▶ decoder
    wide pieces   ┘   frozen                └─ texture loss ─┘

Critics were tried for the same end and left out: small discriminators in a step of twice the cost, 250 steps, took the held-out spectral
loss from 0.85 to 0.96 and the FAD of decoded held-out tracks to their originals from 12.8 to 13.8; the texture loss, to 0.88 and 10.9.

OUT/data/wide/piece_00000.npy    int16 [N]: sound that is not techno (synth/anything.py), rendered once
OUT/sharpen.safetensors          decoder, averaged codec, optimizer; OUT/sharpen.jsonl: figures
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from engine.pocket import codec_training
from engine.pocket.codec import PocketCodec
from engine.pocket.codec_training import CodecTraining, averaged_codec, crops, schedule
from engine.pocket.data import stored_tracks, write_samples
from engine.pocket.excerpts import other_music
from engine.pocket.log import FigureLog
from engine.pocket.losses import PHASE_RESOLUTION, SAMPLE_RATE, SpectralLoss, texture_loss
from engine.pocket.sharpness import compare
from engine.pocket.synth.anything import render_piece
from engine.training.states import load_checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint
from engine.training.team import Team

MEASURED_S = 4
WIDE_STEPS = 50_000_000  # so that a step's wide crops are not drawn as its techno's are


@dataclass(frozen=True, slots=True)
class SharpenTraining:
    """Settings of the stage. A run may be stopped and gone on with at other `steps`: the rates fall over the last third."""

    steps: int = 3_000
    batch: int = 10
    frames: int = 48
    rate: float = 4e-4
    texture: float = 4.0  # weight of `texture_loss` beside the spectral loss
    wide_rows: int = 4  # of a batch: how many are not techno
    wide_pieces: int = 2_000
    wide_seconds: float = 8.0
    seed: int = 0
    save_every: int = 250
    log_every: int = 50
    measure_every: int = 250


def render_wide(team: Team, out: Path, settings: SharpenTraining) -> None:
    """Renders the pieces that are still missing, the team taking turns, and waits for all."""
    folder = out / "data" / "wide"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(team.rank, settings.wide_pieces, team.size):
        path = folder / f"piece_{number:05d}.npy"
        if not path.exists():
            write_samples(path, render_piece(number, seconds=settings.wide_seconds))
    team.wait()


class SharpenRun:
    """The state of a run: the codec, its average, optimizer, and where it stands."""

    def __init__(self, team: Team, out: Path, settings: SharpenTraining) -> None:
        torch.manual_seed(settings.seed)
        self.team, self.settings, self.out = team, settings, out
        self.path, self.log, self.loss = out / "sharpen.safetensors", FigureLog(out / "sharpen.jsonl"), SpectralLoss()
        self.tracks = stored_tracks(out / "data" / "train")
        if not self.tracks:
            raise FileNotFoundError(f"no tracks under {out / 'data'}: run the stage `data` first")
        # As tracks, since only their samples are asked for: nobody reads a piece's other facts.
        names = [f"piece_{i:05d}" for i in range(settings.wide_pieces)] if settings.wide_rows else []
        self.wide = [replace(self.tracks[0], name=name, folder=out / "data" / "wide") for name in names]
        saved = load_checkpoint(self.path)
        if saved is None:
            self.codec, frozen = codec_training.load_trained(out)
            if not frozen:
                raise FileNotFoundError(f"the codes under {out} are not frozen yet: run the stage `codec` to its end first")
            self.codec = self.codec.half().float()
        else:
            self.codec = averaged_codec(*saved)
        self.averaged = PocketCodec(self.codec.config).eval()
        self.averaged.load_state_dict(self.codec.state_dict())
        self.codec.requires_grad_(False)
        self.codec.decoder.requires_grad_(True)
        self.trained = list(self.codec.decoder.parameters())
        self.optimizer = torch.optim.AdamW(self.trained, settings.rate, betas=(0.8, 0.98), weight_decay=1e-3)
        self.step, seconds = 0, 0.0
        if saved is not None:
            tensors, facts = saved
            self.codec.decoder.load_state_dict({k[8:]: v for k, v in tensors.items() if k.startswith("decoder.")})
            restore_optimizer(self.optimizer, tensors, "optimizer")
            self.step, seconds = facts["step"], float(facts["seconds"])
            if team.leads:
                self.log.write(stage="sharpen", resumed_at=self.step)
        self.begun = time.monotonic() - seconds
        self.measured: dict[str, tuple[Tensor, Tensor]] = {}

    def save(self) -> None:
        """Everything that the next run reads, in one atomic file."""
        tensors = {f"decoder.{k}": v for k, v in self.codec.decoder.state_dict().items()}
        tensors |= {f"averaged.{k}": v for k, v in self.averaged.state_dict().items()}
        tensors |= optimizer_tensors(self.optimizer, "optimizer")
        facts = {"step": self.step, "seconds": time.monotonic() - self.begun}
        save_checkpoint(self.path, tensors, facts | {"config": self.codec.config.to_dict(), "settings": asdict(self.settings)})

    def batch(self) -> Tensor:
        """This process's part of the step's sounds [B, N], techno first, the same whenever asked."""
        settings = self.settings
        usual = CodecTraining(batch=settings.batch - settings.wide_rows, frames=settings.frames, seed=settings.seed)
        parts = [crops(self.tracks, usual, self.step, self.team)]
        if self.wide:
            parts.append(crops(self.wide, replace(usual, batch=settings.wide_rows), WIDE_STEPS + self.step, self.team))
        return torch.cat(parts)

    def advance(self) -> dict[str, Tensor]:
        """One step; returns its losses."""
        settings, step = self.settings, self.step
        for group in self.optimizer.param_groups:
            group["lr"] = settings.rate * schedule(step, settings.steps, tail=1 / 3)
        x = self.batch()
        with torch.no_grad():
            vectors = self.codec.vectors(self.codec.to_codes(x))
        with torch.autocast("cpu", torch.bfloat16):
            y = self.codec.synthesise(vectors)
        picked = [PHASE_RESOLUTION, int(np.random.default_rng([settings.seed, 2, step]).choice([0, 1, 2, 4]))]
        losses = {"loss": self.loss(x, y, picked), "texture": texture_loss(x, y)}
        self.optimizer.zero_grad(set_to_none=True)
        (losses["loss"] + settings.texture * losses["texture"]).backward()
        self.team.average_gradients(self.trained)
        nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self._average()
        self.step += 1
        return losses

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(0.999, self.step / (self.step + 20))
        for a, p in zip(self.averaged.decoder.parameters(), self.trained, strict=True):
            a.lerp_(p, 1 - keep)

    def measure(self) -> dict[str, float]:
        """Figures of the average on held-out tracks and on other people's music, which is never trained on."""
        if not self.measured:
            tracks = stored_tracks(self.out / "data" / "held_out")[:24]
            sounds = {"held_out": [t.crop(10 * SAMPLE_RATE, MEASURED_S * SAMPLE_RATE) for t in tracks]}
            sounds["other"] = [torch.from_numpy(x.copy()) for _, x in other_music(MEASURED_S)]
            sets = {name: torch.stack(xs) for name, xs in sounds.items() if xs}
            self.measured = {name: (x, self.codec.to_codes(x)) for name, x in sets.items()}
        figures = dict[str, float]()
        for name, (x, codes) in self.measured.items():
            figures |= {f"{name}_{k}": v for k, v in compare(x, self.averaged.to_audio(codes), self.loss).items()}
        return figures


def train(team: Team, out: Path, settings: SharpenTraining) -> None:
    """Trains to `settings.steps`, from OUT/sharpen.safetensors if it is there. Raises FileNotFoundError without tracks or frozen codes."""
    run = SharpenRun(team, out, settings)
    if settings.wide_rows:
        render_wide(team, out, settings)
    if team.leads and run.step == 0:
        run.log.write(stage="sharpen", step=0, **run.measure())
    recent: list[dict[str, float]] = []
    while run.step < settings.steps:
        recent.append({k: float(v.detach()) for k, v in run.advance().items()})
        if not team.leads:
            continue
        if run.step % settings.log_every == 0:
            some = recent[-settings.log_every :]
            figures = {k: float(np.mean([losses[k] for losses in some])) for k in some[-1]}
            if run.step % settings.measure_every == 0 or run.step == settings.steps:
                figures |= run.measure()
            run.log.write(stage="sharpen", step=run.step, seconds=round(time.monotonic() - run.begun), **figures)
        if run.step % settings.save_every == 0 or run.step == settings.steps:
            run.save()


def load_trained(out: Path) -> PocketCodec:
    """The averaged codec of the last checkpoint. Raises FileNotFoundError where there is none."""
    saved = load_checkpoint(out / "sharpen.safetensors")
    if saved is None:
        raise FileNotFoundError(f"no sharpened codec under {out}: run the stage `sharpen` first")
    return averaged_codec(*saved)
