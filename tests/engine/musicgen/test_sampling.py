from __future__ import annotations

import pytest
import torch

from engine.musicgen.sampling import SamplingOptions, guide, sample, sample_each

LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0, -2.0])


def _shares(options: SamplingOptions, draws: int = 20_000) -> torch.Tensor:
    codes = sample(LOGITS.expand(draws, -1), options, torch.Generator().manual_seed(0))
    return codes.bincount(minlength=5) / draws


def test_temperature_zero_takes_the_likeliest() -> None:
    assert sample(torch.stack([LOGITS, LOGITS.flip(0)]), SamplingOptions(temperature=0)).tolist() == [0, 4]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("top_k", [0, 5, 250])  # a codebook may have fewer entries than top_k asks for
def test_draws_follow_the_probabilities(temperature: float, top_k: int) -> None:
    shares = _shares(SamplingOptions(temperature=temperature, top_k=top_k))
    assert torch.allclose(shares, (LOGITS / temperature).softmax(0), atol=0.015)


def test_top_k_keeps_the_k_likeliest_in_proportion() -> None:
    shares = _shares(SamplingOptions(top_k=2))
    assert torch.allclose(shares[:2], LOGITS[:2].softmax(0), atol=0.015)
    assert shares[2:].sum() == 0


def test_top_p_keeps_the_smallest_set_that_reaches_p() -> None:
    probabilities = LOGITS.softmax(0)  # 0.64 0.23 0.09 …
    assert (_shares(SamplingOptions(top_k=0, top_p=0.6)) > 0).tolist() == [True, False, False, False, False]
    shares = _shares(SamplingOptions(top_k=0, top_p=0.8))
    assert (shares > 0).tolist() == [True, True, False, False, False]
    assert torch.allclose(shares[:2], probabilities[:2] / probabilities[:2].sum(), atol=0.015)
    assert (_shares(SamplingOptions(top_k=1, top_p=0.99)) > 0).sum() == 1  # with both, the nucleus is among the k likeliest


def test_the_same_seed_draws_the_same_codes() -> None:
    logits = torch.randn(4, 64, generator=torch.Generator().manual_seed(1))
    for options in (SamplingOptions(), SamplingOptions(top_k=10), SamplingOptions(top_p=0.9)):
        first, again = (sample(logits, options, torch.Generator().manual_seed(9)) for _ in range(2))
        assert torch.equal(first, again)


@pytest.mark.parametrize("options", [SamplingOptions(), SamplingOptions(temperature=0.7, top_p=0.9), SamplingOptions(temperature=0)])
def test_takes_that_draw_together_draw_what_each_draws_alone(options: SamplingOptions) -> None:
    logits = torch.randn(5, 4, 2048, generator=torch.Generator().manual_seed(1))
    alone = [sample(own, options, torch.Generator().manual_seed(seed)) for seed, own in enumerate(logits)]
    together = sample_each(logits, options, [torch.Generator().manual_seed(seed) for seed in range(5)])
    assert torch.equal(together, torch.stack(alone))


def test_guidance_weighs_the_difference_to_no_text() -> None:
    logits = torch.tensor([[1.0, 2.0], [0.5, 3.0]])
    assert guide(logits, 3.0).tolist() == [[2.0, 0.0]]
    assert guide(logits, 1.0).tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("wrong", [{"temperature": -1}, {"top_k": -1}, {"top_p": 1.5}, {"guidance_scale": 0.5}])
def test_options_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SamplingOptions(**wrong)  # type: ignore[arg-type]
