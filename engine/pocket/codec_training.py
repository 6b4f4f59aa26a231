"""Stages `codec` and `decoder`: train the pocket codec on the rendered tracks. The network itself is in codec.py.

    steps 0…400      no quantising (a codebook started on untrained latents collapsed to one code)
    …joint_steps     codebooks by k-means on what the encoders say, then moving averages; entries that nothing chooses move to frames
                     that are badly served
    …+settle_steps   encoders and codebooks frozen and rounded as they ship; the decoder gets used to it. Here the stage `codec` ends, and
                     since codes no longer change, the stage `lm` may begin
    …steps           stage `decoder`: the decoder alone learns on

Loss: mel and linear magnitudes at several resolutions, and the complex spectrum below 1 kHz, so that kick and bass keep their phase.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.pocket.codec import PocketCodec, PocketCodecConfig
from engine.pocket.data import TrackFacts, stored_tracks
from engine.pocket.log import FigureLog
from engine.pocket.losses import PHASE_RESOLUTION, RESOLUTIONS, SAMPLE_RATE, SpectralLoss
from engine.pocket.quantiser import Quantiser, settle, usage
from engine.training.states import load_checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint
from engine.training.team import Team

FRAME = 640


@dataclass(frozen=True, slots=True)
class CodecTraining:
    """Settings of both stages. A run may be stopped and gone on with at other `steps`: the rate decays over the last 30 %."""

    steps: int = 10_000
    joint_steps: int = 4_500
    settle_steps: int = 500
    batch: int = 10
    frames: int = 48
    rate: float = 1e-3
    unquantised_steps: int = 400
    decay: float = 0.99  # of the codebooks' moving averages
    commitment: float = 0.25
    seed: int = 0
    save_every: int = 250
    log_every: int = 100


def schedule(step: int, steps: int, *, warmup: int = 100, tail: float = 0.3) -> float:
    """Warm-up, constant, then linear to nothing over the last `tail` of the run."""
    return min(1.0, (step + 1) / warmup, max(0.01, (steps - step) / max(1.0, tail * steps)))


def crops(tracks: list[TrackFacts], settings: CodecTraining, step: int, team: Team) -> Tensor:
    """This process's part of a batch [B, N] for `step`, the same whenever asked.

    Half the crops start on a frame of their track, as the language model's will; gain, tilt, mixtures of two tracks and pitch widen what
    the codec hears.
    """
    rng = np.random.default_rng([settings.seed, 1, step, team.rank])
    n, batch = settings.frames * FRAME, []
    for _ in range(max(1, settings.batch // team.size)):
        x = _crop(tracks, rng, n)
        if rng.random() < 0.12:
            x = 0.6 * (x + _crop(tracks, rng, n))
        if rng.random() < 0.15:  # a tilt of up to ±6 dB an octave around 1 kHz
            spectrum = torch.fft.rfft(x)
            f = torch.linspace(0, SAMPLE_RATE / 2, len(spectrum)).clamp(min=40)
            x = torch.fft.irfft(spectrum * (f / 1000) ** float(rng.uniform(-0.5, 0.5)), n)
            x = x / x.abs().max().clamp(min=1.0)
        batch.append(x * float(10 ** (rng.uniform(-9, 1.5) / 20)) if rng.random() < 0.6 else x)
    return torch.stack(batch)


def _crop(tracks: list[TrackFacts], rng: np.random.Generator, n: int) -> Tensor:
    track = tracks[int(rng.integers(len(tracks)))]
    start = int(rng.integers(0, len(track.samples()) - n))
    if rng.random() < 0.5:
        start -= start % FRAME
    if rng.random() < 0.15:  # pitch and tempo by resampling
        m = int(n * rng.uniform(0.85, 1.18))
        return F.interpolate(track.crop(start, m)[None, None], size=n, mode="linear", align_corners=False)[0, 0]
    return track.crop(start, n)


@torch.no_grad()
def measure(codec: PocketCodec, tracks: list[TrackFacts], loss: SpectralLoss) -> dict[str, object]:
    """Held-out loss over all resolutions, and how alive the codebooks are. The same excerpts every time."""
    x = torch.stack([t.crop(int(5 * t.bar_samples), 4 * SAMPLE_RATE) for t in tracks])  # (M, 4 s), from bar 5
    codes = codec.to_codes(x)
    y = codec.to_audio(codes)
    figures = usage(codes, codec.config.codebook_size)
    return {
        "held_out_loss": float(loss(x, y, list(range(len(RESOLUTIONS))))),
        "used": [u for u, _ in figures],
        "entropy_bits": [e for _, e in figures],
    }


class CodecRun:
    """The state of a run: network, its average, optimizer, codebooks, and where it stands."""

    def __init__(self, team: Team, out: Path, settings: CodecTraining, config: PocketCodecConfig | None) -> None:
        torch.manual_seed(settings.seed)
        self.team, self.settings, self.path, self.log = team, settings, out / "codec.safetensors", FigureLog(out / "codec.jsonl")
        self.tracks, self.held_out = stored_tracks(out / "data" / "train"), stored_tracks(out / "data" / "held_out")
        if not self.tracks:
            raise FileNotFoundError(f"no tracks under {out / 'data'}: run the stage `data` first")
        self.codec, self.loss = PocketCodec(config or PocketCodecConfig()), SpectralLoss()
        self.averaged = PocketCodec(self.codec.config).eval()
        self.averaged.load_state_dict(self.codec.state_dict())
        self.trained = [p for p in self.codec.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, settings.rate, betas=(0.8, 0.98), weight_decay=1e-3)
        self.quantiser = Quantiser(self.codec, settings.decay)
        self.step, self.quantised, self.frozen, self.recent = 0, False, False, list[float]()
        seconds = self._resume()
        self.begun = time.monotonic() - seconds

    def _resume(self) -> float:
        """Takes up the last checkpoint, if there is one; returns the seconds that it took so far."""
        saved = load_checkpoint(self.path)
        if saved is None:
            return 0.0
        tensors, facts = saved
        self.codec.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        self.averaged.load_state_dict({k[9:]: v for k, v in tensors.items() if k.startswith("averaged.")})
        restore_optimizer(self.optimizer, tensors, "optimizer")
        self.quantiser.counts, self.quantiser.sums = tensors["counts"], tensors["sums"]
        self.step, self.quantised = facts["step"], facts["quantised"]
        if facts.get("frozen", False):
            self._decoder_only()
        if self.team.leads:
            self.log.write(stage="codec", resumed_at=self.step)
        return float(facts["seconds"])

    def save(self) -> None:
        """Everything that `_resume` reads, in one atomic file."""
        tensors = {f"model.{k}": v for k, v in self.codec.state_dict().items()}
        tensors |= {f"averaged.{k}": v for k, v in self.averaged.state_dict().items()}
        tensors |= optimizer_tensors(self.optimizer, "optimizer") | {"counts": self.quantiser.counts, "sums": self.quantiser.sums}
        facts = {"step": self.step, "seconds": time.monotonic() - self.begun, "quantised": self.quantised, "frozen": self.frozen}
        save_checkpoint(self.path, tensors, facts | {"config": self.codec.config.to_dict(), "settings": asdict(self.settings)})

    @torch.no_grad()
    def start_codebooks(self) -> None:
        """k-means on the latents of a dozen batches, the same in every process."""
        batches = [crops(self.tracks, self.settings, self.step + 1 + i, Team()) for i in range(12)]
        self.quantiser.start(torch.cat([self.codec.latents(x) for x in batches]))
        self.team.follow([self.codec.codebooks.data, self.quantiser.sums])
        self.averaged.load_state_dict(self.codec.state_dict())
        self.quantised = True

    @torch.no_grad()
    def freeze_codes(self) -> None:
        """Ends the learning of codes: the averaged encoders, rounded to the half precision in which they ship, and settled codebooks."""
        self.codec.load_state_dict(self.averaged.state_dict())
        self._decoder_only()
        batches = [crops(self.tracks, self.settings, 10_000_000 + i, Team()) for i in range(60)]
        settle(self.codec, torch.cat([self.codec.latents(x) for x in batches]))
        self.team.follow([self.codec.codebooks.data])
        self.averaged.load_state_dict(self.codec.state_dict())
        if self.team.leads:
            self.save()
            self.log.write(stage="codec", frozen_at=self.step)

    def _decoder_only(self) -> None:
        for p in self.codec.encoders.parameters():
            p.data = p.data.half().float()
            p.requires_grad_(False)
        self.trained, self.frozen = list(self.codec.decoder.parameters()), True

    def _quantise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Audio [B, N] → vectors [B, K, T, D] that the decoder hears, and the commitment loss."""
        with torch.set_grad_enabled(not self.frozen), torch.autocast("cpu", torch.bfloat16, enabled=not self.frozen):
            latents = self.codec.latents(x)
        nothing = latents.new_zeros(())
        if not self.quantised:
            return latents, nothing
        codes = self.codec.nearest(latents.detach())
        chosen = self.codec.vectors(codes)
        if self.frozen:
            return chosen, nothing
        self.quantiser.update(latents.detach(), codes)
        self.team.average([self.quantiser.counts, self.quantiser.sums])
        self.codec.codebooks.data.copy_(self.quantiser.sums / self.quantiser.counts.clamp(min=1e-5)[..., None])
        return latents + (chosen - latents).detach(), F.mse_loss(latents, chosen)  # straight through

    def advance(self) -> float:
        """One step; returns the commitment loss."""
        settings, step = self.settings, self.step
        for group in self.optimizer.param_groups:
            group["lr"] = settings.rate * schedule(step, settings.steps)
        x = crops(self.tracks, settings, step, self.team)
        vectors, commitment = self._quantise(x)
        with torch.autocast("cpu", torch.bfloat16):
            y = self.codec.synthesise(vectors)
        picked = [PHASE_RESOLUTION, int(np.random.default_rng([settings.seed, 2, step]).choice([0, 1, 2, 4]))]
        loss = self.loss(x, y, picked)
        self.optimizer.zero_grad(set_to_none=True)
        (loss + settings.commitment * commitment).backward()
        self.team.average_gradients(self.trained)
        nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.step += 1
        self.recent.append(float(loss.detach()))
        self._average()
        return float(commitment.detach())

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(0.999, self.step / (self.step + 20))
        for a, p in zip(self.averaged.parameters(), self.codec.parameters(), strict=True):
            a.lerp_(p, 1 - keep)
        self.averaged.codebooks.copy_(self.codec.codebooks)

    def report(self, commitment: float) -> None:
        """One line of figures; now and then those of held-out tracks too."""
        settings, seconds = self.settings, time.monotonic() - self.begun
        figures: dict[str, object] = {"loss": float(np.mean(self.recent[-settings.log_every :])), "commitment": commitment}
        if self.step % (5 * settings.log_every) == 0 and self.held_out:
            figures |= measure(self.averaged, self.held_out[:24], self.loss)
        speed = self.step * settings.batch * settings.frames / 50 / seconds
        self.log.write(stage="codec", step=self.step, seconds=round(seconds), audio_s_per_s=round(speed, 1), **figures)


def train(team: Team, out: Path, settings: CodecTraining, config: PocketCodecConfig | None = None) -> None:
    """Trains to `settings.steps`, from OUT/codec.safetensors if it is there. Raises FileNotFoundError without tracks."""
    _advance_to(settings.steps, CodecRun(team, out, settings, config))


def train_codes(team: Team, out: Path, settings: CodecTraining) -> None:
    """Trains until codes are frozen and the decoder is used to them, from OUT/codec.safetensors if it is there."""
    run = CodecRun(team, out, settings, None)
    _advance_to(min(settings.steps, settings.joint_steps + settings.settle_steps), run)


def _advance_to(end: int, run: CodecRun) -> None:
    settings, team = run.settings, run.team
    while run.step < end:
        if run.step >= settings.unquantised_steps and not run.quantised:
            run.start_codebooks()
        if run.step >= settings.joint_steps and not run.frozen:
            run.freeze_codes()
        commitment = run.advance()
        if team.leads and run.step % settings.log_every == 0:
            run.report(commitment)
        if team.leads and (run.step % settings.save_every == 0 or run.step == end):
            run.save()


def load_trained(out: Path) -> tuple[PocketCodec, bool]:
    """The averaged codec of the last checkpoint, and whether its codes are frozen."""
    saved = load_checkpoint(out / "codec.safetensors")
    if saved is None:
        raise FileNotFoundError(f"no codec under {out}: run the stage `codec` first")
    return averaged_codec(*saved), bool(saved[1].get("frozen", False))


def averaged_codec(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> PocketCodec:
    """The averaged codec of a checkpoint of this stage, or of one after it."""
    known = PocketCodecConfig().to_dict()
    codec = PocketCodec(PocketCodecConfig(**{k: v for k, v in facts["config"].items() if k in known}))
    codec.load_state_dict({k[9:]: v for k, v in tensors.items() if k.startswith("averaged.")})
    return codec.eval()
