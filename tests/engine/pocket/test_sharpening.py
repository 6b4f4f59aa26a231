"""The stage `sharpen`: resumed as if unbroken, codes untouched, losses that tell a smear, and sound that is not techno."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from engine.pocket import codec_training, sharpening, sharpness
from engine.pocket.codec import PocketCodecConfig
from engine.pocket.codec_training import CodecTraining
from engine.pocket.losses import SpectralLoss, texture_loss
from engine.pocket.sharpening import SharpenRun, SharpenTraining
from engine.pocket.synth.anything import render_piece
from engine.training.states import load_checkpoint
from engine.training.team import Team

SETTINGS = SharpenTraining(
    steps=5,
    batch=3,
    frames=16,
    wide_rows=1,
    wide_pieces=2,
    wide_seconds=1.0,
    save_every=1,
    log_every=2,
    measure_every=4,
)


@pytest.fixture
def frozen(recipe: Path, codec_config: PocketCodecConfig, codec_training: CodecTraining) -> Path:
    """OUT with a codec whose codes are frozen."""
    train_codec(recipe, codec_training, codec_config)
    separate_wide(recipe)
    return recipe


def train_codec(out: Path, settings: CodecTraining, config: PocketCodecConfig) -> None:
    codec_training.train(Team(), out, settings, config)


def separate_wide(out: Path) -> None:
    """The recipe's data are shared by all tests, so this one gets a data folder of its own, with links to the tracks."""
    shared = (out / "data").resolve()
    (out / "data").unlink()
    (out / "data").mkdir()
    for split in ("train", "held_out"):
        (out / "data" / split).symlink_to(shared / split)


def state(out: Path) -> dict[str, torch.Tensor]:
    saved = load_checkpoint(out / "sharpen.safetensors")
    assert saved is not None
    return saved[0]


def test_sharpening_resumed_equals_unbroken(frozen: Path) -> None:
    sharpening.train(Team(), frozen, SETTINGS)
    unbroken = state(frozen)
    (frozen / "sharpen.safetensors").unlink()
    for stop in (1, 3, 5):
        run = SharpenRun(Team(), frozen, SETTINGS)
        while run.step < stop:
            run.advance()
        run.save()
    resumed = state(frozen)
    assert resumed.keys() == unbroken.keys()
    assert [k for k in resumed if not torch.equal(resumed[k], unbroken[k])] == []
    log = [json.loads(line) for line in (frozen / "sharpen.jsonl").read_text().splitlines()]
    assert [line["resumed_at"] for line in log if "resumed_at" in line] == [1, 3]
    measured = next(line for line in log if line.get("step") == 4)
    assert {"loss", "texture", "held_out_loss", "held_out_mel_db", "held_out_lines"} <= measured.keys()


def test_codes_stay_and_the_decoder_does_not(frozen: Path) -> None:
    before = codec_training.load_trained(frozen)[0].half().float()
    sharpening.train(Team(), frozen, SETTINGS)
    after = sharpening.load_trained(frozen)
    old, new = before.state_dict(), after.state_dict()
    assert old.keys() == new.keys()
    changed = {k for k in old if not torch.equal(old[k], new[k])}
    assert changed and all(k.startswith("decoder.") for k in changed)
    x = 0.1 * torch.randn(1, 6400, generator=torch.Generator().manual_seed(0))
    assert torch.equal(before.to_codes(x), after.to_codes(x))
    # Half precision, in which encoders and codebooks ship, takes nothing away from them.
    assert all(torch.equal(v, v.half().float()) for k, v in new.items() if not k.startswith("decoder."))


def test_without_wide_sound_the_batch_is_techno(frozen: Path) -> None:
    run = SharpenRun(Team(), frozen, replace(SETTINGS, wide_rows=0))
    before = [p.clone() for p in run.trained]
    assert run.batch().shape == (3, 16 * 640)
    assert run.advance().keys() == {"loss", "texture"}
    assert not all(torch.equal(a, b) for a, b in zip(before, run.trained, strict=True))
    assert not (frozen / "data" / "wide").exists()


def test_wide_pieces_are_rendered_once(frozen: Path) -> None:
    sharpening.render_wide(Team(), frozen, SETTINGS)
    folder = frozen / "data" / "wide"
    first = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert sorted(first) == ["piece_00000.npy", "piece_00001.npy"]
    (folder / "piece_00001.npy").unlink()
    sharpening.render_wide(Team(), frozen, SETTINGS)
    second = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert [name for name in first if second[name] != first[name]] == ["piece_00001.npy"]
    run = SharpenRun(Team(), frozen, SETTINGS)
    batch = run.batch()
    assert batch.shape == (3, 16 * 640)
    assert torch.equal(batch, run.batch())
    techno = replace(SETTINGS, batch=2, wide_rows=0)
    assert torch.equal(batch[:2], SharpenRun(Team(), frozen, techno).batch())


def test_a_codec_whose_codes_still_move_is_refused(recipe: Path, codec_config: PocketCodecConfig, codec_training: CodecTraining) -> None:
    with pytest.raises(FileNotFoundError, match="stage `codec`"):
        SharpenRun(Team(), recipe, SETTINGS)
    train_codec(recipe, replace(codec_training, steps=3), codec_config)
    with pytest.raises(FileNotFoundError, match="not frozen"):
        SharpenRun(Team(), recipe, SETTINGS)
    with pytest.raises(FileNotFoundError, match="stage `sharpen`"):
        sharpening.load_trained(recipe)


def test_sharpness_is_one_for_the_original_and_less_for_a_smear(one_thread: None) -> None:
    n = np.arange(64_000)
    tones = sum(np.sin(2 * np.pi * f * n / 32_000) for f in (220, 277, 330, 440)) * (n % 8000 < 4000) / 8
    x = torch.tensor(tones, dtype=torch.float32)[None]
    noise = torch.nn.functional.avg_pool1d(torch.randn(1, 1, 64_000, generator=torch.Generator().manual_seed(0)), 31, 1, 15)[0]
    loss = SpectralLoss()
    same, smeared = sharpness.compare(x, x, loss), sharpness.compare(x, x + 0.3 * noise, loss)
    assert same["lines"] == same["onsets"] == 1.0 and same["loss"] < 1e-3 and same["mel_db"] == 0.0
    assert smeared["lines"] < 0.9 and smeared["loss"] > 0.3 and smeared["mel_db"] > 1


def test_texture_is_alike_for_other_noise_and_unlike_for_a_smear(one_thread: None) -> None:
    generator = torch.Generator().manual_seed(0)
    x, other = (0.1 * torch.randn(2, 32_000, generator=generator) for _ in range(2))
    spectrum = torch.stft(x, 2048, 512, window=torch.hann_window(2048), return_complex=True)
    phase = torch.polar(torch.ones(spectrum.shape), 6.28 * torch.rand(spectrum.shape, generator=generator))
    flat = torch.istft(0.56 * spectrum.abs().square().mean((1, 2), keepdim=True).sqrt() * phase, 2048, 512, window=torch.hann_window(2048))
    smear = F.pad(flat, (0, 32_000 - flat.shape[1]))  # what a median of noises would be: every bin the same
    assert float(texture_loss(x, x)) == 0.0
    assert float(texture_loss(x, other)) < 0.7 * float(texture_loss(x, smear))
    y = torch.zeros(2, 32_000, requires_grad=True)
    (gradient,) = torch.autograd.grad(texture_loss(x, y + 0.0), y)
    assert torch.isfinite(gradient).all()


def test_pieces_are_seeded_finite_in_range_and_varied() -> None:
    pieces = [render_piece(seed, seconds=2.0) for seed in range(24)]
    assert all(p.dtype == np.float32 and p.shape == (64_000,) for p in pieces)
    assert all(np.isfinite(p).all() and 0.1 < np.abs(p).max() <= 1.0 for p in pieces)
    assert np.array_equal(pieces[3], render_piece(3, seconds=2.0))
    with_silence = render_piece(45, seconds=8.0)  # which compression has to get over
    assert np.isfinite(with_silence).all() and with_silence.std() > 0.01
    spectra = [np.abs(np.fft.rfft(p)) ** 2 for p in pieces]
    centres = np.array([float((s * np.arange(len(s))).sum() / s.sum() / 2) for s in spectra])  # Hz
    assert centres.min() < 500 and centres.max() > 2000
    loudness = np.array([20 * np.log10(np.sqrt((p**2).mean())) for p in pieces])
    assert np.ptp(loudness) > 12
