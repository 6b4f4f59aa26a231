"""A segment's loss is its own, whatever stands beside it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch

from engine.musicgen.generate import MusicGen
from engine.training.adapters import AdapterShape, attach
from engine.training.losses import collate, cross_entropy, held_out_nats, kl_to_base
from engine.training.segments import Rows, Segment

Make = Callable[..., list[Segment]]


def rows(segments: list[Segment], *prompts: str | None) -> Rows:
    return Rows(tuple(segments), prompts or tuple(segment.caption for segment in segments))


def test_a_short_segment_gives_the_same_loss_alone_and_beside_a_long_one(model: MusicGen, segments: Make) -> None:
    short, long = segments(1, frames=10, seed=1), segments(1, frames=30, seed=2)
    alone = cross_entropy(model.lm, collate(rows(short), model.lm, model.conditioner))
    beside = cross_entropy(model.lm, collate(rows(short + long), model.lm, model.conditioner))
    torch.testing.assert_close(beside[:1], alone, rtol=1e-5, atol=1e-5)
    assert beside.shape == (2, model.lm.config.num_codebooks)


def test_gradients_of_two_are_the_mean_of_one_and_one(model: MusicGen, segments: Make) -> None:
    torch.manual_seed(3)
    adapter = attach(model.lm, AdapterShape(rank=2, dropout=0.0))
    for layer in adapter.layers.values():
        layer.lora_B.data.normal_(0, 0.1)
    two = segments(1, frames=8, seed=1) + segments(1, frames=20, seed=2)

    def gradients(*batches: list[Segment]) -> list[torch.Tensor]:
        for parameter in adapter.parameters():
            parameter.grad = None
        for batch in batches:
            loss = cross_entropy(model.lm, collate(rows(batch), model.lm, model.conditioner)).mean()
            (loss / len(batches)).backward()
        return [p.grad.clone() for p in adapter.parameters() if p.grad is not None]

    for together, apart in zip(gradients(two), gradients(two[:1], two[1:]), strict=True):
        torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-6)


def test_padding_and_the_corners_of_the_delay_are_no_targets(model: MusicGen, segments: Make) -> None:
    batch = collate(rows(segments(1, frames=6) + segments(1, frames=9)), model.lm, model.conditioner)
    real = batch.targets != model.lm.pad
    assert real.sum(-1).tolist() == [[6] * model.lm.config.num_codebooks, [9] * model.lm.config.num_codebooks]


def test_without_a_change_the_distance_to_the_base_is_zero_and_then_it_is_not(model: MusicGen, segments: Make) -> None:
    adapter = attach(model.lm, AdapterShape(rank=2, dropout=0.0))
    batch = collate(rows(segments(2), "techno", "techno"), model.lm, model.conditioner)
    assert kl_to_base(model.lm, batch, nullcontext(model.lm)).abs().max() < 1e-6
    for layer in adapter.layers.values():
        layer.lora_B.data.normal_(0, 0.1)

    class Base:
        def __enter__(self) -> object:
            adapter.strength = 0.0
            return model.lm

        def __exit__(self, *_: object) -> None:
            adapter.strength = 1.0

    distance = kl_to_base(model.lm, batch, Base())  # type: ignore[arg-type]
    assert distance.shape == (2,)
    assert (distance > 1e-4).all()
    assert distance.requires_grad


def test_held_out_loss_does_not_depend_on_how_segments_are_grouped(model: MusicGen, segments: Make) -> None:
    four = segments(2, frames=8, seed=4) + segments(2, frames=15, seed=5)
    together = held_out_nats(model.lm, model.conditioner, [rows(four)])
    apart = held_out_nats(model.lm, model.conditioner, [rows([segment]) for segment in four])
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-6)
