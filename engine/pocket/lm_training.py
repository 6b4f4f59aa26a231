"""Stage `lm`: codes of every track once, then language model and text encoder together. The modules are in lm.py.

What made the beat steady (measured; figures in weights/README.md): tempi whose beat is a whole number of frames, so that a bar comes back
as the same codes; segments that mostly start on a downbeat; thousands of small steps rather than hundreds of large ones.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.musicgen.delay import apply_delay
from engine.pocket import text
from engine.pocket.codec import PocketCodec
from engine.pocket.codec_training import load_trained as load_codec
from engine.pocket.codec_training import schedule
from engine.pocket.data import CODES_ONLY_FIRST_SEED, TrackFacts, facts_of, read_facts, stored_tracks
from engine.pocket.files import FigureLog, load_checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint, write_atomically
from engine.pocket.lm import PocketLM, PocketSizes, tokenise
from engine.pocket.quantiser import usage
from engine.pocket.synth import TRAINING_MANNERS, render_track
from engine.pocket.workers import Team

# Segments up to this long are drills for the tempo: nothing but the text says when the second kick comes, and in a long segment that one
# moment is drowned by frames that are copied from the bar before. Without drills clips were steady and deaf to the number in the prompt;
# whether drills cure that has not been measured yet.
DRILL_FRAMES = 64
SHARD = 100  # tracks a file of codes
CODEBOOK_WEIGHTS = (0.4, 0.2, 0.2, 0.2)  # the first carries kick and bass: without it nothing else is in time


@dataclass(frozen=True, slots=True)
class LMTraining:
    """Settings of the stage. `tokens` frames a step, cut into segments of one of `segments` frames (drawn with `shares`)."""

    steps: int = 60_000
    tokens: int = 3072
    segments: tuple[int, ...] = (48, 128, 256, 512)
    shares: tuple[float, ...] = (0.4, 0.15, 0.25, 0.2)
    matrix_rate: float = 0.02  # Muon
    rate: float = 2e-3  # AdamW
    beat_weight: float = 0.3  # of the loss of counting
    null_share: float = 0.12  # segments without text, for guidance and for unconditional takes
    tail: float = 0.3
    seed: int = 0
    save_every: int = 50
    log_every: int = 50
    listen_every: int = 250


# ------------------------------------------------------------------------------------------------------------------------- codes
@torch.no_grad()
def encode_tracks(team: Team, out: Path) -> None:
    """Writes the codes of every track to OUT/codes, in shards, the team taking turns; what is there is left alone."""
    codec = frozen_codec(out)
    shards = []
    for split in ("held_out", "train"):
        tracks = stored_tracks(out / "data" / split)
        shards += [(out / "codes" / f"{split}_{i:06d}.safetensors", tracks[i : i + SHARD]) for i in range(0, len(tracks), SHARD)]
    for number, (path, tracks) in enumerate(shards):
        if path.exists() or number % team.size != team.rank:
            continue
        codes = {}
        for track in tracks:
            audio = torch.from_numpy(track.samples() / np.float32(32768))
            codes[track.name] = codec.to_codes(audio[None])[0].to(torch.int16)

        def write(p: Path, codes: dict[str, Tensor] = codes) -> None:
            save_file(codes, p)

        write_atomically(path, write)


@torch.no_grad()
def encode_more(team: Team, out: Path, tracks: int, bars: int = 8) -> None:
    """Renders and encodes `tracks` further short tracks, in shards with their facts; their samples are not kept (6 kB of codes a track).

    The language model needs many more tracks than the codec: with 1,400 it knew each by its kick after three passes, read the tempo from
    that, and had no need of the prompt.
    """
    codec = frozen_codec(out)
    for first in range(SHARD * team.rank, tracks, SHARD * team.size):
        path = out / "codes" / f"more_{first:06d}.safetensors"
        if path.exists():
            continue
        codes, facts = {}, []
        for i in range(first, first + SHARD):
            track = render_track(TRAINING_MANNERS[i % len(TRAINING_MANNERS)], CODES_ONLY_FIRST_SEED + i, bars=bars)
            fact = facts_of(track, path.parent)
            codes[fact.name] = codec.to_codes(torch.from_numpy(track.samples)[None])[0].to(torch.int16)
            facts.append(fact.record())

        def write(p: Path, codes: dict[str, Tensor] = codes, facts: list[dict[str, object]] = facts) -> None:
            save_file(codes, p, {"facts": json.dumps(facts)})

        write_atomically(path, write)


def read_codes(out: Path, split: str) -> dict[str, Tensor]:
    """Name → codes [K, T] int16 of a split."""
    codes: dict[str, Tensor] = {}
    for path in sorted((out / "codes").glob(f"{split}_*.safetensors")):
        with safe_open(path, "pt") as f:
            codes |= {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118 - not a dict
    return codes


def frozen_codec(out: Path) -> PocketCodec:
    """The trained codec as it will ship, in half precision's rounding. Raises RuntimeError while its codes still change."""
    codec, frozen = load_codec(out)
    if not frozen:
        raise RuntimeError("the codec's codes are not frozen yet: let the stage `codec` pass its joint steps first")
    return codec.half().float()


# --------------------------------------------------------------------------------------------------------------------- segments
class Batch(NamedTuple):
    """What a step learns from."""

    codes: Tensor  # [B, K, T]
    ids: Tensor  # [B, L]
    mask: Tensor  # [B, L]
    has_text: Tensor  # [B] bool
    beats: Tensor  # [B, T]: frames from here to the next beat, 1 … beat_frames


@dataclass(slots=True)
class Crate:
    """Tracks with their codes and captions, from which segments are drawn."""

    tracks: list[TrackFacts]
    codes: dict[str, Tensor]
    tokenizer: Any

    def batch(self, rng: np.random.Generator, frames: int, size: int, null_share: float) -> Batch:
        """Segments of `size` tracks with a caption each."""
        segments, captions, has_text, beats = [], [], [], []
        for _ in range(size):
            track = self.tracks[int(rng.integers(len(self.tracks)))]
            whole = self.codes[track.name]
            start = segment_start(track, whole.shape[1], frames, rng)
            segments.append(whole[:, start : start + frames].long())
            beats.append(track.beat_frames - (start + torch.arange(frames)) % track.beat_frames)
            captions.append(track.caption(rng))
            has_text.append(rng.random() >= null_share)
        ids, mask = tokenise(self.tokenizer, captions)
        return Batch(torch.stack(segments), ids, mask, torch.tensor(has_text), torch.stack(beats))


def open_crate(out: Path, split: str, tokenizer: Any) -> Crate:
    """The tracks of a split that have been encoded, of the manners that are trained."""
    codes = read_codes(out, split)
    tracks = [t for t in stored_tracks(out / "data" / split) if t.name in codes and t.manner in TRAINING_MANNERS]
    if split == "train":
        codes |= read_codes(out, "more")
        for path in sorted((out / "codes").glob("more_*.safetensors")):
            with safe_open(path, "pt") as f:
                tracks += [read_facts(r, path.parent) for r in json.loads(f.metadata()["facts"])]
    if not tracks:
        raise FileNotFoundError(f"no codes under {out / 'codes'}: encode_tracks comes first")
    return Crate(tracks, codes, tokenizer)


def segment_start(track: TrackFacts, total: int, frames: int, rng: np.random.Generator) -> int:
    """Four of five segments start on a downbeat, mostly with a kick, as a new clip should; the rest anywhere, as continuations do.
    Drills always start on a kick."""
    bar, last = 4 * track.beat_frames, total - frames
    assert last >= 0, "a segment is longer than its track"
    draw = rng.random() if frames > DRILL_FRAMES else 0.0
    if draw < 0.8:
        bars = [b for b in (track.kick_bars if draw < 0.7 else range(track.bars)) if b * bar <= last]
        if bars:
            return bar * bars[int(rng.integers(len(bars)))]
    return int(rng.integers(0, last + 1))


def cross_entropy(model: PocketLM, batch: Batch) -> tuple[Tensor, Tensor]:
    """In nats: of the codes, per codebook [K], and of the frames until the next beat []."""
    pad, T = model.sizes.card, batch.codes.shape[2]
    sequence = apply_delay(batch.codes, pad)  # (B, K, 1 + T + K − 1)
    logits, beats = model(sequence[:, :, :-1], batch.ids, batch.mask, batch.has_text)  # (B, K, S, card), (B, S, classes)
    targets = sequence[:, :, 1:]
    losses = [
        F.cross_entropy(logits[:, k].float().flatten(0, 1), targets[:, k].flatten(), ignore_index=pad) for k in range(logits.shape[1])
    ]
    return torch.stack(losses), F.cross_entropy(beats[:, :T].float().flatten(0, 1), batch.beats.flatten())


# ------------------------------------------------------------------------------------------------------------------------ train
class LMRun:
    """The state of a run: model, its average, two optimizers, and where it stands."""

    def __init__(self, team: Team, out: Path, settings: LMTraining, sizes: PocketSizes | None) -> None:
        torch.manual_seed(settings.seed)
        self.team, self.settings, self.path, self.log = team, settings, out / "lm.safetensors", FigureLog(out / "lm.jsonl")
        self.tokenizer, self.codec = text.train(out, seed=settings.seed), frozen_codec(out)
        self.crate, self.held_out = (open_crate(out, split, self.tokenizer) for split in ("train", "held_out"))
        self.sizes = sizes or PocketSizes(card=self.codec.config.codebook_size, vocabulary=len(self.tokenizer))
        self.model, self.averaged = PocketLM(self.sizes), PocketLM(self.sizes).eval()
        self.averaged.load_state_dict(self.model.state_dict())
        self.matrices = self.model.hidden_matrices()
        hidden = {id(p) for p in self.matrices}
        self.others = [p for p in self.model.parameters() if id(p) not in hidden]
        self.muon = torch.optim.Muon(self.matrices, settings.matrix_rate, weight_decay=0.01, momentum=0.95, ns_steps=4)
        self.adam = torch.optim.AdamW(self.others, settings.rate, betas=(0.9, 0.97), weight_decay=0.0)
        weights = torch.tensor(CODEBOOK_WEIGHTS[: self.sizes.num_codebooks])
        self.weights = weights / weights.sum()
        self.step, self.recent = 0, list[Tensor]()
        seconds = self._resume()
        self.begun = time.monotonic() - seconds

    def _resume(self) -> float:
        """Takes up the last checkpoint, if there is one; returns the seconds that it took so far."""
        saved = load_checkpoint(self.path)
        if saved is None:
            if self.team.leads:
                alive = usage(torch.cat([c[:, :200] for c in list(self.crate.codes.values())[:300]], 1)[None].long(), self.sizes.card)
                count = sum(p.numel() for p in self.model.parameters())
                used, bits = [u for u, _ in alive], [b for _, b in alive]
                self.log.write(stage="lm", parameters=count, tracks=len(self.crate.tracks), code_usage=used, bits=bits)
            return 0.0
        tensors, facts = saved
        self.model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        self.averaged.load_state_dict({k[9:]: v for k, v in tensors.items() if k.startswith("averaged.")})
        restore_optimizer(self.muon, tensors, "muon")
        restore_optimizer(self.adam, tensors, "adam")
        self.step = facts["step"]
        if self.team.leads:
            self.log.write(stage="lm", resumed_at=self.step)
        return float(facts["seconds"])

    def save(self) -> None:
        """Everything that `_resume` reads, in one atomic file."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"averaged.{k}": v for k, v in self.averaged.state_dict().items()}
        tensors |= optimizer_tensors(self.muon, "muon") | optimizer_tensors(self.adam, "adam")
        facts = {"step": self.step, "seconds": time.monotonic() - self.begun, "sizes": self.sizes.as_dict()}
        save_checkpoint(self.path, tensors, facts | {"settings": asdict(self.settings)})

    def _batch(self) -> Batch:
        """This process's part of the step's batch: of the step alone, so that a resumed run sees what an unbroken one would."""
        settings = self.settings
        frames = int(np.random.default_rng([settings.seed, 4, self.step]).choice(settings.segments, p=settings.shares))
        rng = np.random.default_rng([settings.seed, 5, self.step, self.team.rank])
        return self.crate.batch(rng, frames, max(1, settings.tokens // frames // self.team.size), settings.null_share)

    def advance(self) -> float:
        """One step; returns the schedule's factor."""
        settings = self.settings
        factor = schedule(self.step, settings.steps, warmup=150, tail=settings.tail)
        for optimizer, rate in ((self.muon, settings.matrix_rate), (self.adam, settings.rate)):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
        with torch.autocast("cpu", torch.bfloat16):
            losses, beat = cross_entropy(self.model, self._batch())
        self.model.zero_grad(set_to_none=True)
        ((losses * self.weights).sum() + settings.beat_weight * beat).backward()
        self.team.average_gradients([*self.others, *self.matrices])
        nn.utils.clip_grad_norm_(self.others, 1.0)
        self.muon.step()
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
        if self.step % settings.listen_every == 0:
            figures |= {"held_out_nats": held_out_nats(self.averaged, self.held_out)}
            figures |= listen(self.averaged, self.codec, self.tokenizer)
        self.log.write(stage="lm", step=self.step, seconds=round(time.monotonic() - self.begun), rate=factor, **figures)


def train(team: Team, out: Path, settings: LMTraining, sizes: PocketSizes | None = None) -> None:
    """Trains to `settings.steps`, from OUT/lm.safetensors if it is there. Raises FileNotFoundError without codes."""
    run = LMRun(team, out, settings, sizes)
    while run.step < settings.steps:
        factor = run.advance()
        if team.leads and run.step % settings.log_every == 0:
            run.report(factor)
        if team.leads and (run.step % settings.save_every == 0 or run.step == settings.steps):
            run.save()


@torch.no_grad()
def held_out_nats(model: PocketLM, crate: Crate) -> list[float]:
    """Cross-entropy per codebook on unseen tracks, the same segments every time."""
    rng = np.random.default_rng(11)
    with torch.autocast("cpu", torch.bfloat16):
        losses = torch.stack([cross_entropy(model, crate.batch(rng, 384, 8, 0.0))[0] for _ in range(4)]).mean(0)
    return [round(float(x), 3) for x in losses]


@torch.no_grad()
def listen(model: PocketLM, codec: PocketCodec, tokenizer: Any) -> dict[str, object]:
    """A few short clips, measured: does the kick come back, and at the tempo that was asked for?"""
    from engine.pocket.evaluate import PROBES, beat, sample_codes

    codes = sample_codes(model, tokenizer, [prompt for prompt, _ in PROBES], frames=300, seed=1)  # (B, K, T)
    audio = codec.to_audio(codes).numpy()
    beats = [beat(x, bpm) for x, (_, bpm) in zip(audio, PROBES, strict=True)]
    return {
        "periodicity": [round(b.periodicity, 2) for b in beats],
        "bpm": [round(b.bpm, 1) for b in beats],
        "hits": sum(b.hit for b in beats),
    }


def load_trained(out: Path) -> PocketLM:
    """The averaged model of the last checkpoint."""
    saved = load_checkpoint(out / "lm.safetensors")
    if saved is None:
        raise FileNotFoundError(f"no language model under {out}: run the stage `lm` first")
    tensors, facts = saved
    model = PocketLM(PocketSizes(**facts["sizes"]))
    model.load_state_dict({k[9:]: v for k, v in tensors.items() if k.startswith("averaged.")})
    return model.eval()
