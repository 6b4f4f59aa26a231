"""This project's language model and transformers', on the same random weights: the same logits, the same greedy codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.musicgen.checkpoint import export, load
from engine.musicgen.delay import apply_delay
from engine.musicgen.generate import MusicGen, SamplingOptions

pytestmark = pytest.mark.parity

GREEDY = SamplingOptions(temperature=0.0, guidance_scale=3.0)
PROMPTS = ["dark driving techno at 128 bpm", "Alice_hash", "deep house, and a very long bass line with hats"]
TOLERANCE = 1e-4


def _hf_logits(hf: Any, sequence: Tensor, states: Tensor, mask: Tensor) -> Tensor:
    """(B, K, S) under T5's states, before projection -> (B, K, S, card)"""
    B, K, S = sequence.shape
    with torch.inference_mode():
        out = hf(encoder_outputs=(states,), attention_mask=mask, decoder_input_ids=sequence.reshape(B * K, S))
    return out.logits.view(B, K, S, -1)


def _random_sequence(model: MusicGen, rows: int, frames: int) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    codes = torch.randint(model.card, (rows, model.num_codebooks, frames), generator=generator)
    return apply_delay(codes, model.lm.pad, model.lm.config.delays)


@pytest.mark.parametrize("kind", ["mono", "stereo"])
def test_logits_agree_with_text_and_without(request: pytest.FixtureRequest, kind: str) -> None:
    model, hf = (request.getfixturevalue(name + ("_stereo" if kind == "stereo" else "")) for name in ("tiny", "hf_tiny"))
    sequence = _random_sequence(model, rows=4, frames=60)
    tokens = model.conditioner.tokenizer(PROMPTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = hf.text_encoder(**tokens).last_hidden_state
    states = torch.cat([states, torch.zeros_like(states[:1])])  # the last row is the null condition
    mask = torch.cat([tokens.attention_mask, torch.zeros_like(tokens.attention_mask[:1])])
    expected = _hf_logits(hf, sequence, states, mask)

    conditioning = model.conditioner([*PROMPTS, None])
    with torch.inference_mode():
        logits = model.lm(sequence, conditioning.states, conditioning.mask)

    assert expected.std() > 0.5  # there is something to tell apart
    assert (logits - expected).abs().max() < TOLERANCE


def test_logits_agree_step_by_step_after_an_audio_prompt(tiny: MusicGen, hf_tiny: Any) -> None:
    sequence = _random_sequence(tiny, rows=1, frames=50)
    tokens = tiny.conditioner.tokenizer(PROMPTS[:1], return_tensors="pt")
    with torch.inference_mode():
        states = hf_tiny.text_encoder(**tokens).last_hidden_state
    states, mask = torch.cat([states, torch.zeros_like(states)]), torch.cat([tokens.attention_mask, 0 * tokens.attention_mask])
    expected = _hf_logits(hf_tiny, sequence.repeat(2, 1, 1), states, mask)

    conditioning = tiny.conditioner([PROMPTS[0], None])
    with torch.inference_mode():
        state = tiny.lm.begin(conditioning.states, conditioning.mask, capacity=sequence.shape[2])
        logits = [tiny.lm.prefill(sequence[:, :, :30], state)]
        logits += [tiny.lm.decode_one(sequence[:, :, step], state) for step in range(30, sequence.shape[2])]

    assert (torch.stack(logits, dim=2) - expected[:, :, 29:]).abs().max() < TOLERANCE


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("prompt_seconds", [0.0, 1.5])
def test_greedy_codes_are_identical_for_200_frames(
    tiny: MusicGen,
    hf_tiny: Any,
    hf_greedy: Callable[..., Tensor],
    run: Callable[..., Tensor],
    some_audio: Callable[..., Tensor],
    batch: int,
    prompt_seconds: float,
) -> None:
    audio = [some_audio(prompt_seconds, seed) for seed in range(batch)] if prompt_seconds else None
    expected = hf_greedy(hf_tiny, tiny.conditioner.tokenizer, PROMPTS[:batch], 200, torch.stack(audio) if audio else None)

    takes = [
        tiny.start(prompt=prompt, frames=200, sampling=GREEDY, seed=0, prompt_audio=audio[index] if audio else None)
        for index, prompt in enumerate(PROMPTS[:batch])
    ]
    codes = run(*takes)

    assert len(codes.unique()) > 10  # not one code over and over
    assert torch.equal(codes, expected[:, :, -200:])


def test_greedy_codes_are_identical_in_stereo(
    tiny_stereo: MusicGen,
    hf_tiny_stereo: Any,
    hf_greedy: Callable[..., Tensor],
    run: Callable[..., Tensor],
    some_audio: Callable[..., Tensor],
) -> None:
    audio = some_audio(1.0, channels=2)
    expected = hf_greedy(hf_tiny_stereo, tiny_stereo.conditioner.tokenizer, PROMPTS[:1], 100, audio[None])
    take = tiny_stereo.start(prompt=PROMPTS[0], frames=100, sampling=GREEDY, seed=0, prompt_audio=audio)
    assert torch.equal(run(take), expected[:, :, -100:])


def test_an_exported_checkpoint_gives_the_same_codes_in_transformers(
    tiny: MusicGen,
    tmp_path: Path,
    load_transformers: Callable[[Path], Any],
    hf_greedy: Callable[..., Tensor],
    run: Callable[..., Tensor],
) -> None:
    folder = export(tiny, tmp_path / "exported")
    again = load(folder)
    expected = run(tiny.start(prompt=PROMPTS[0], frames=60, sampling=GREEDY, seed=0))
    assert torch.equal(run(again.start(prompt=PROMPTS[0], frames=60, sampling=GREEDY, seed=0)), expected)
    assert torch.equal(hf_greedy(load_transformers(folder), again.conditioner.tokenizer, PROMPTS[:1], 60), expected)
