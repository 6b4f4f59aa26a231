"""`python -m engine pocket evaluate`: figures of a checkpoint's clips, beside those of tracks and of sound that is no music.

Prompts are in `conditions`; who judges is in judges.py, what the clips stand beside in excerpts.py, the beat's measures in rhythm.py.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.evaluation.copies import Ngrams, beyond_real
from engine.musicgen.generate import MusicGen
from engine.pocket import clips as clip_maker
from engine.pocket import excerpts as beside
from engine.pocket.data import HELD_OUT_FIRST_SEED
from engine.pocket.excerpts import Excerpt
from engine.pocket.judges import Ears, Heard, MannerClassifier, distance
from engine.pocket.lm_codes import read_codes
from engine.pocket.losses import RESOLUTIONS, SpectralLoss
from engine.pocket.rhythm import SAMPLE_RATE, Beat, Sound, beat, beat_phase_s
from engine.pocket.sheets import write_sheet
from engine.pocket.synth import MANNERS, TRAINING_MANNERS

BROKEN = "breakbeat"  # the manner whose kick isn't on every beat
CONTINUED = "continuations of held-out tracks"
CONTINUED_OFF = "continuations of held-out tracks, played 2.4 % faster"  # 125 BPM becomes 128, which the model never heard
HELD_OUT, CODED = "held-out tracks", "held-out tracks through the codec"
OTHERS, OTHERS_CODED = "other people's music", "other people's music through the codec"
SHUFFLED = "shuffled codes"
Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked for: the text, and what it says."""

    text: str | None
    bpm: float | None = None
    manner: str | None = None


def conditions(count: int) -> dict[str, list[Prompt]]:
    """`count` prompts of each kind; tempi are whole numbers from 110 to 160, and in a manner's prompt what is usual for it."""
    both, tempo = [], []
    for i in range(count):
        manner = MANNERS[TRAINING_MANNERS[i % len(TRAINING_MANNERS)]]
        lap = i // len(TRAINING_MANNERS)
        slowest, fastest = manner.tempi
        bpm = slowest + 5 * lap % (fastest - slowest + 1)
        both.append(Prompt(f"{manner.words[lap % len(manner.words)]}, {bpm} bpm", bpm, manner.name))
        bpm = 110 + 50 * i // max(1, count - 1)
        tempo.append(Prompt(f"techno, {bpm} bpm", bpm))
    return {
        "manner and tempo": both,
        "tempo alone": tempo,
        "'techno'": [Prompt("techno")] * count,
        "no prompt": [Prompt(None)] * count,
    }


def rhythm(beats: Sequence[Beat], broken: Sequence[bool], asked: Sequence[float | None]) -> Figures:
    """Of many clips: the share whose tempo is the one asked for (within 2 %, and within 1 %), and how steady the kick is where it is meant
    to be on every beat."""
    steady = [b.periodicity for b, is_broken in zip(beats, broken, strict=True) if not is_broken]
    figures: Figures = {"clips": len(beats)}
    if all(asked):
        figures["tempo_hits"] = float(np.mean([b.hit for b in beats]))
        figures["within_1_percent"] = float(np.mean([b.hit and abs(b.bpm / a - 1) <= 0.01 for b, a in zip(beats, asked, strict=True) if a]))
    if steady:
        figures["kick_periodicity_median"] = float(np.median(steady))
        figures["kick_periodicity_lower_quarter"] = float(np.quantile(steady, 0.25))
    return figures


def beats_of(sounds: Sequence[Sound], bpm: Sequence[float | None], manners: Sequence[str | None]) -> Figures:
    """`rhythm` of clips that were asked for so."""
    broken = [m == BROKEN for m in manners]
    return rhythm([beat(x, t, broken=b) for x, t, b in zip(sounds, bpm, broken, strict=True)], broken, bpm)


class Evaluation:
    """One run: the checkpoint, the references that every set of clips is held against, and the figures so far."""

    def __init__(self, model: MusicGen, out: Path, *, count: int, seconds: float) -> None:
        self.model, self.out, self.count, self.seconds = model, out, count, seconds
        self.frames = round(seconds * model.frame_rate)
        self.figures: dict[str, Figures] = {}
        self.ears = Ears()
        seeds = range(HELD_OUT_FIRST_SEED, HELD_OUT_FIRST_SEED + 2 * -(-count // len(TRAINING_MANNERS)))
        held = [beside.excerpts(out, "held_out", TRAINING_MANNERS, seeds[i::2], seconds=seconds)[:count] for i in (0, 1)]
        self.reference, self.tracks = self.ears.hear([e.sound for e in held[0]]), held[1]
        self.classifier = self._classifier()

    def _classifier(self) -> MannerClassifier:
        """Learns from training tracks, through the codec, since clips come from it."""
        known = beside.excerpts(self.out, "train", TRAINING_MANNERS, range(max(6, 5 * self.count // 8)), seconds=6.0)
        heard = self.ears.hear(beside.through_codec(self.model, [e.sound for e in known]))
        return MannerClassifier(heard.means, [e.manner for e in known])

    def measure(self, name: str, sounds: Sequence[Sound], prompts: Sequence[Prompt]) -> Heard:
        """All figures of one set of clips, under `name`."""
        figures = beats_of(sounds, [p.bpm for p in prompts], [p.manner for p in prompts])
        heard = self.ears.hear(sounds)
        if all(p.manner for p in prompts):
            named = self.classifier.name(heard.means)
            figures["manner_named"] = float(np.mean([a == p.manner for a, p in zip(named, prompts, strict=True)]))
        far = distance(self.reference, heard)
        figures |= {
            "techno_tags": heard.techno_share,
            "fad": far.fad,
            "kad": far.kad.value,
            "kad_low": far.kad.low,
            "kad_high": far.kad.high,
        }
        self.figures[name] = figures
        return heard

    def measure_coded(self, name: str, sounds: Sequence[Sound], prompts: Sequence[Prompt], *, shuffled: bool = False) -> None:
        """`measure` of what the codec makes of sounds, and how far that is from them."""
        coded = beside.through_codec(self.model, sounds, shuffled=shuffled)
        self.measure(name, coded, prompts)
        self.figures[name]["spectral_loss"] = spectral_loss(sounds, coded)

    def generate(self, prompts: Sequence[Prompt], seed: int, model: MusicGen | None = None) -> tuple[Tensor, list[Sound]]:
        """Codes [B, K, T] and sounds."""
        model = model or self.model
        codes = clip_maker.clips(model, [p.text for p in prompts], self.frames, seed=seed)
        return codes, [model.codec.decode(c)[0].numpy() for c in codes]

    def continuations(self, name: str, speed: Fraction = Fraction(1)) -> None:
        """Held-out tracks cut after 40 % of the time and continued: is the rest in tempo, and on the track's own grid?

        `speed`: of a turntable that they are played on, which takes their tempi off the grid that the model was trained on.
        """
        seeds = range(HELD_OUT_FIRST_SEED, HELD_OUT_FIRST_SEED + -(-self.count // len(TRAINING_MANNERS)))
        cut = int(0.4 * self.frames)
        tracks = beside.excerpts(self.out, "held_out", TRAINING_MANNERS, seeds, seconds=self.seconds, kick=True)[: self.count]
        tracks = [beside.played_at(e, speed) for e in tracks]
        heard = torch.stack([self.model.codec.encode(torch.from_numpy(e.sound.copy())[None])[:, :cut] for e in tracks])
        codes = clip_maker.clips(self.model, ["techno"] * len(tracks), self.frames - cut, seed=77, heard=heard)
        begins = cut * self.model.codec.hop_samples
        whole = [self.model.codec.decode(torch.cat([h, c], 1))[0].numpy() for h, c in zip(heard, codes, strict=True)]
        new = [x[begins:] for x in whole]
        broken = [e.manner == BROKEN for e in tracks]
        beats = [beat(x, e.bpm, broken=b) for x, e, b in zip(new, tracks, broken, strict=True)]
        figures = rhythm(beats, broken, [e.bpm for e in tracks])
        figures["within_1_percent"] = float(np.mean([abs(b.bpm / e.bpm - 1) <= 0.01 for b, e in zip(beats, tracks, strict=True)]))
        figures["in_phase"] = float(np.mean([seam_s(x, begins, e) <= 0.03 for x, e in zip(whole, tracks, strict=True)]))
        self.figures[name] = figures

    def near_copies(self, codes: Tensor) -> None:
        """By n-grams of the first codebook: clips that share more with the training tracks than all but 5 % of held-out tracks do."""
        first = [np.asarray(c[0]) for c in codes]
        held = [self.model.codec.encode(torch.from_numpy(e.sound.copy())[None])[0].numpy() for e in self.tracks]
        splits = ("train", "more", "any") if self._own_codes() else ()
        training = [c[0].numpy() for split in splits for c in read_codes(self.out, split).values()]
        if not training:
            some = beside.excerpts(self.out, "train", TRAINING_MANNERS, range(3), seconds=20.0)
            training = [self.model.codec.encode(torch.from_numpy(e.sound.copy())[None])[0].numpy() for e in some]
        known = Ngrams(training)
        found = beyond_real([known.share(c) for c in first], [known.share(c) for c in held])
        self.figures["near-copies"] = {
            "clips": found.clips, "training_tracks": len(training), "beyond_threshold": found.share, "held_out_beyond": found.real_share,
            "longest_s": float(np.median([known.longest(c) for c in first]) / self.model.frame_rate),
            "held_out_longest_s": float(np.median([known.longest(c) for c in held]) / self.model.frame_rate),
        }  # fmt: skip

    def _own_codes(self) -> bool:
        """Whether OUT/codes were made by this checkpoint's codec."""
        stored = read_codes(self.out, "held_out")
        for track, samples in beside.tracks_of(self.out, "held_out", TRAINING_MANNERS[:1], [HELD_OUT_FIRST_SEED]):
            if track.name in stored:
                codes = self.model.codec.encode(torch.from_numpy(np.ascontiguousarray(samples[None])))
                return bool((codes == stored[track.name][:, : codes.shape[1]]).float().mean() > 0.99)
        return False


def spectral_loss(sounds: Sequence[Sound], coded: Sequence[Sound]) -> float:
    """Mean over pairs of the distance that the codec's decoder was trained with."""
    loss, resolutions = SpectralLoss(), list(range(len(RESOLUTIONS)))
    pairs = [(torch.from_numpy(x.copy())[None], torch.from_numpy(y[: len(x)].copy())[None]) for x, y in zip(sounds, coded, strict=True)]
    return float(np.mean([float(loss(x, y, resolutions)) for x, y in pairs]))


def seam_s(x: Sound, begins: int, track: Excerpt) -> float:
    """How far the beat of `x` from sample `begins` on is from where the part before leads to expect it, in seconds."""
    bpm = track.bpm / 4 if track.manner == BROKEN else track.bpm  # a broken kick comes back only after a bar
    period, before, after = 60 / bpm, beat_phase_s(x[:begins], bpm), beat_phase_s(x[begins:], bpm)
    apart = abs(after + begins / SAMPLE_RATE - before) % period
    return float(min(apart, period - apart))


@torch.inference_mode()
def evaluate(
    model: MusicGen, out: Path, *, clips: int, seconds: float, save: Path | None = None, sheet: Path | None = None
) -> dict[str, Figures]:
    """Generates `clips` clips a condition with the checkpoint's own sampling; name → figures. EmbedderUnavailable without musicnn."""
    run = Evaluation(model, out, count=clips, seconds=seconds)
    for seed, (name, prompts) in enumerate(conditions(clips).items()):
        codes, sounds = run.generate(prompts, seed)
        run.measure(name, sounds, prompts)
        if seed == 0:
            run.near_copies(codes)
            if sheet is not None:
                some = run.tracks[:10]
                left = [(p.text or "", x) for p, x in zip(prompts[:10], sounds, strict=False)]
                write_sheet(sheet, left, [(f"{e.manner}, {e.bpm:.1f} BPM, {e.track.key}", e.sound) for e in some])
        if save is not None:
            for i, (prompt, x) in enumerate(zip(prompts, sounds, strict=True)):
                write_wav(save / f"{(prompt.text or 'no prompt').replace(' ', '_').replace(',', '')}_{i}.wav", x)
    run.continuations(CONTINUED)
    run.continuations(CONTINUED_OFF, Fraction(128, 125))
    real = [e.sound for e in run.tracks]
    known = [Prompt(None, e.bpm, e.manner) for e in run.tracks]
    run.measure(HELD_OUT, real, known)
    run.measure_coded(CODED, real, known)
    music = beside.other_music(seconds)
    if music:
        others, tempi = [x for _, x in music], [Prompt(None, bpm) for bpm, _ in music]
        run.measure(OTHERS, others, tempi)
        run.measure_coded(OTHERS_CODED, others, tempi)
    nothing = [Prompt(None)] * clips
    run.measure("untrained language model", run.generate(nothing, 99, beside.untrained(model))[1], nothing)
    run.measure_coded(SHUFFLED, real, nothing[: len(real)], shuffled=True)
    run.measure("white noise", beside.noise(clips, seconds), nothing)
    return run.figures


def write_wav(path: Path, samples: Sound) -> None:
    """Mono, 16 bit, turned down where it would clip."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples / max(1.0, float(np.abs(samples).max())), SAMPLE_RATE)


def table(figures: dict[str, Figures]) -> str:
    """For people. Empty places are what a set has no such figure for."""

    def cell(f: Figures, key: str, form: str) -> str:
        return form.format(f[key]) if key in f else ""

    lines = [f"{'':<34} {'clips':>5} {'tempo':>6} {'±1 %':>5} {'kick (low ¼)':>13} {'manner':>7} {'tags':>5} {'FAD':>6} {'KAD (95 %)':>20}"]
    for name, f in figures.items():
        if "fad" not in f:
            continue
        kick = cell(f, "kick_periodicity_median", "{:.2f}") + cell(f, "kick_periodicity_lower_quarter", " ({:.2f})")
        kad = f"{f['kad']:.2f} ({f['kad_low']:.2f}–{f['kad_high']:.2f})"
        lines.append(
            f"{name:<34} {f['clips']:>5} {cell(f, 'tempo_hits', '{:.0%}'):>6} {cell(f, 'within_1_percent', '{:.0%}'):>5}"
            f" {kick:>13} {cell(f, 'manner_named', '{:.0%}'):>7} {f['techno_tags']:>5.0%} {f['fad']:>6.1f} {kad:>20}"
        )
    for name in (CONTINUED, CONTINUED_OFF):
        c = figures[name]
        lines.append(
            f"{name}: {c['clips']}; tempo within 1 %: {c['within_1_percent']:.0%}; phase within 30 ms: {c['in_phase']:.0%};"
            f" kick {c.get('kick_periodicity_median', 0.0):.2f}"
        )
    n = figures["near-copies"]
    lines.append(
        f"near-copies: {n['beyond_threshold']:.0%} of clips, {n['held_out_beyond']:.0%} of held-out tracks,"
        f" against {n['training_tracks']} tracks;"
        f" longest stretch, median: {n['longest_s']:.2f} s and {n['held_out_longest_s']:.2f} s"
    )
    coded = [f"{name}: {figures[name]['spectral_loss']:.2f}" for name in (CODED, OTHERS_CODED, SHUFFLED) if name in figures]
    lines.append(f"the codec's spectral loss, {'; '.join(coded)}")
    return "\n".join(lines)


def report(checkpoint: Path | None, out: Path, *, clips: int, seconds: float, save: Path | None, sheet: Path | None, as_json: bool) -> None:
    """What the command prints."""
    from engine.musicgen.checkpoint import load

    model = load(checkpoint or Path(__file__).parent / "weights")
    figures = evaluate(model, out, clips=clips, seconds=seconds, save=save, sheet=sheet)
    print(json.dumps(figures, indent=1) if as_json else table(figures))
