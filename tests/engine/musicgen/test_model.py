from __future__ import annotations

import pytest
import torch

from engine.musicgen.conditioning import Conditioner
from engine.musicgen.generate import MusicGen
from engine.musicgen.model import LanguageModelConfig


def test_prefill_and_single_steps_give_what_a_whole_sequence_gives(tiny: MusicGen) -> None:
    sequence = torch.randint(tiny.card, (2, 4, 20), generator=torch.Generator().manual_seed(0))
    conditioning = tiny.conditioner(["dark techno", None])
    with torch.inference_mode():
        whole = tiny.lm(sequence, conditioning.states, conditioning.mask)
        state = tiny.lm.begin(conditioning.states, conditioning.mask, capacity=20)
        keys = [cache.keys.data_ptr() for cache in state.caches]
        steps = [tiny.lm.prefill(sequence[:, :, :8], state)]
        steps += [tiny.lm.decode_one(sequence[:, :, step], state) for step in range(8, 20)]
    assert torch.allclose(torch.stack(steps, dim=2), whole[:, :, 7:], atol=1e-5)
    assert [cache.keys.data_ptr() for cache in state.caches] == keys  # reserved once, never moved


def test_a_step_does_not_hear_what_comes_after_it(tiny: MusicGen) -> None:
    sequence = torch.randint(tiny.card, (1, 4, 20), generator=torch.Generator().manual_seed(0))
    other = sequence.clone()
    other[:, :, 12:] = (other[:, :, 12:] + 1) % tiny.card
    states = tiny.conditioner(["techno"]).states
    with torch.inference_mode():
        first, second = tiny.lm(sequence, states), tiny.lm(other, states)
    assert torch.equal(first[:, :, :12], second[:, :, :12])
    assert not torch.allclose(first[:, :, 12:], second[:, :, 12:])


def test_a_row_without_text_is_finite_and_like_a_row_with_nothing_to_attend_to(tiny: MusicGen) -> None:
    sequence = torch.randint(tiny.card, (2, 4, 6), generator=torch.Generator().manual_seed(0))
    sequence[1] = sequence[0]
    states = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(1))  # whatever stands behind a zero mask
    with torch.inference_mode():
        logits = tiny.lm(sequence, states, torch.zeros(2, 5))
        null = tiny.lm(sequence[:1], torch.zeros(1, 1, 64))
    assert logits.isfinite().all()
    assert torch.allclose(logits, null.expand(2, -1, -1, -1), atol=1e-5)


def test_padding_a_shorter_prompt_changes_nothing(tiny: MusicGen) -> None:
    sequence = torch.randint(tiny.card, (1, 4, 10), generator=torch.Generator().manual_seed(0))
    alone, beside = tiny.conditioner(["techno"]), tiny.conditioner(["techno", "a much longer prompt with dark hats"])
    with torch.inference_mode():
        expected = tiny.lm(sequence, alone.states, alone.mask)
        padded = tiny.lm(sequence.expand(2, -1, -1), beside.states, beside.mask)[:1]
    assert torch.allclose(padded, expected, atol=1e-5)


def test_it_can_be_trained_after_it_was_used(tiny: MusicGen) -> None:
    """What generation leaves behind (tables made in inference mode) must not be in the way of gradients."""
    sequence = torch.randint(tiny.card, (1, 4, 6))
    with torch.inference_mode():
        tiny.lm(sequence, torch.zeros(1, 1, 64))
    parameter = tiny.lm.heads.weight
    parameter.requires_grad_(True)
    try:
        tiny.lm(sequence, torch.zeros(1, 1, 64)).square().mean().backward()
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0
    finally:
        parameter.requires_grad_(False)
        parameter.grad = None


def test_a_cache_that_is_full_says_so(tiny: MusicGen) -> None:
    with torch.inference_mode():
        state = tiny.lm.begin(torch.zeros(1, 1, 64), capacity=4)
        tiny.lm.prefill(torch.zeros(1, 4, 4, dtype=torch.long), state)
        with pytest.raises(AssertionError, match="cache of 4"):
            tiny.lm.decode_one(torch.zeros(1, 4, dtype=torch.long), state)


def test_sizes_that_do_not_fit_are_refused() -> None:
    sizes = {"num_codebooks": 4, "card": 64, "width": 64, "num_layers": 1, "num_heads": 4, "ffn_width": 128, "delays": (0, 1, 2, 3)}
    for wrong in ({"num_heads": 5}, {"delays": (0, 1)}, {"activation": "silu"}):
        with pytest.raises(ValueError, match=r"heads|delays|activation"):
            LanguageModelConfig(**{**sizes, **wrong})


def test_the_text_encoder_runs_once_for_each_distinct_prompt(tiny: MusicGen) -> None:
    calls: list[torch.Tensor] = []
    conditioner = Conditioner(tiny.conditioner.text_encoder, tiny.conditioner.tokenizer, tiny.conditioner.projection, 64)
    hook = conditioner.text_encoder.register_forward_hook(lambda module, args, output: calls.append(output.last_hidden_state))
    try:
        first = conditioner(["techno", None, "techno", "house"])
        again = conditioner(["house", "techno"])
    finally:
        hook.remove()
    assert len(calls) == 2
    assert torch.equal(first.states[[3, 0]], again.states)
    assert first.mask.sum(dim=1).tolist() == [2, 0, 2, 2]
    assert not first.states[1].any()


def test_prompts_of_any_kind_give_states(tiny: MusicGen) -> None:
    conditioning = tiny.conditioner(["🎧🔥" * 300, "x" * 4000, "", "   \n", "東京テクノ"])
    assert conditioning.states.isfinite().all()
    assert conditioning.mask.sum(dim=1).tolist()[2:4] == [0, 0]
    assert conditioning.states.shape[1] <= 512
