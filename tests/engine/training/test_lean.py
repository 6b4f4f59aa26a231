"""The lean way through a layer gives what torch's own way gives, forwards and backwards, and keeps less for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from engine.musicgen.generate import MusicGen
from engine.training import adapters, lean
from engine.training.losses import Batch, collate, cross_entropy
from engine.training.memory import checkpointed
from engine.training.segments import Rows, Segment

Make = Callable[..., list[Segment]]


@pytest.mark.parametrize("before", ["nothing", "norm", "gelu"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_are_those_of_finite_differences(before: lean.Before, dropout: float) -> None:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    weight, norm = drawn(6, 5), (drawn(5), drawn(5))

    def through(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)  # the same numbers dropped each time
        return lean._LowRank.apply(x, before, *norm, 1e-5, weight, a, b, 0.7, dropout)

    inputs = [tensor.requires_grad_() for tensor in (drawn(4, 5), drawn(6, 5), drawn(3, 2, 2))]  # three parts of rank 2
    assert torch.autograd.gradcheck(through, inputs)


def test_loss_and_gradients_are_those_of_the_plain_layer(model: MusicGen, segments: Make) -> None:
    torch.manual_seed(0)
    adapter = adapters.attach(model.lm, adapters.AdapterShape(rank=3, dropout=0.0))
    for parameter in adapter.parameters():
        parameter.data.normal_(0, 0.1)
    short, long = segments(1, frames=7), segments(1, frames=12, seed=1)
    batch = collate(Rows((*short, *long), ("dark techno", None)), model.lm, model.conditioner)

    def plain() -> torch.Tensor:
        logits = model.lm(batch.heard, batch.states, batch.mask)
        nats = F.cross_entropy(logits.flatten(0, 2), batch.targets.flatten(), ignore_index=model.lm.pad, reduction="none")
        return nats.view(batch.targets.shape).sum(-1) / (batch.targets != model.lm.pad).sum(-1)

    def gradients(losses: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad(losses.mean(), adapter.parameters()))

    expected = plain()
    wanted = gradients(expected)
    lean.lean(model.lm)
    found = cross_entropy(model.lm, batch)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients(found), wanted, rtol=1e-4, atol=1e-6)
    adapter.strength = 0.0
    base = cross_entropy(model.lm, batch)
    adapter.detach()
    torch.testing.assert_close(cross_entropy(model.lm, batch), base)


def test_heads_learn_too_where_all_weights_do(model: MusicGen, segments: Make) -> None:
    batch = collate(Rows(tuple(segments(2)), ("techno", None)), model.lm, model.conditioner)
    model.lm.requires_grad_(True)
    found = torch.autograd.grad(cross_entropy(model.lm, batch).sum(), [model.lm.heads.weight, model.lm.norm.weight])
    logits = model.lm(batch.heard, batch.states, batch.mask)
    nats = F.cross_entropy(logits.flatten(0, 2), batch.targets.flatten(), ignore_index=model.lm.pad, reduction="none")
    expected = (nats.view(batch.targets.shape).sum(-1) / (batch.targets != model.lm.pad).sum(-1)).sum()
    wanted = torch.autograd.grad(expected, [model.lm.heads.weight, model.lm.norm.weight])
    torch.testing.assert_close(list(found), list(wanted), rtol=1e-4, atol=1e-6)


def test_less_is_kept_for_the_way_back(model: MusicGen, segments: Make) -> None:
    adapters.attach(model.lm, adapters.AdapterShape(rank=2, dropout=0.1)).train()
    batch = collate(Rows(tuple(segments(2, frames=60)), ("techno", None)), model.lm, model.conditioner)

    plain = kept(model, batch)
    lean.lean(model.lm)
    assert kept(model, batch) < 0.65 * plain


def test_checkpointing_keeps_least_and_gives_the_same_gradients(model: MusicGen, segments: Make) -> None:
    torch.manual_seed(0)
    adapter = adapters.attach(model.lm, adapters.AdapterShape(rank=2))
    for parameter in adapter.parameters():
        parameter.data.normal_(0, 0.1)
    batch = collate(Rows(tuple(segments(2, frames=60)), ("techno", None)), model.lm, model.conditioner)

    def gradients() -> list[torch.Tensor]:
        return list(torch.autograd.grad(cross_entropy(model.lm, batch).mean(), adapter.parameters()))

    lean.lean(model.lm)
    wanted, usual = gradients(), kept(model, batch)
    checkpointed(checkpointed(model.lm))
    torch.testing.assert_close(gradients(), wanted, rtol=1e-4, atol=1e-6)
    assert kept(model, batch) < 0.6 * usual


def kept(model: MusicGen, batch: Batch) -> int:
    """Bytes that are kept for the way back, each storage once; weights are there anyway."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.lm.parameters()}
    found: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if not isinstance(tensor, nn.Parameter) and storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        losses = cross_entropy(model.lm, batch)
    assert losses.requires_grad
    return sum(found.values())
