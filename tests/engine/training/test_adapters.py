"""Adapters: nothing at first, every matrix takes part, PEFT on transformers gives the same logits, merging changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.musicgen import checkpoint
from engine.musicgen.generate import MusicGen
from engine.training import adapters


@pytest.fixture
def model(tiny_checkpoint: Path) -> MusicGen:
    return checkpoint.load(tiny_checkpoint)


def shaken(model: MusicGen, seed: int = 0, *, rank: int = 4) -> adapters.Adapter:
    """An adapter that does something."""
    torch.manual_seed(seed)
    adapter = adapters.attach(model.lm, adapters.AdapterShape(rank=rank, alpha=8, dropout=0.0))
    for parameter in adapter.parameters():
        parameter.data.normal_(0, 0.1)
    return adapter


def logits(model: MusicGen) -> torch.Tensor:
    torch.manual_seed(1)
    lm = model.lm
    sequence = torch.randint(0, lm.config.card, (2, lm.config.num_codebooks, 9))
    text = model.conditioner(["dark techno", None])
    with torch.no_grad():
        return lm(sequence, text.states, text.mask)


def test_a_new_adapter_changes_nothing_and_comes_off_again(model: MusicGen) -> None:
    before = logits(model)
    adapter = adapters.attach(model.lm)
    assert torch.equal(logits(model), before)
    adapter.detach()
    assert torch.equal(logits(model), before)
    assert not any("lora" in name for name, _ in model.lm.named_parameters())


def test_every_adapted_part_takes_part(model: MusicGen) -> None:
    adapter = adapters.attach(model.lm, adapters.AdapterShape(rank=2, dropout=0.0))
    before = logits(model)
    parts = sum(len(parts) for parts in adapters.TARGETS.values())
    assert parts == 10  # q k v out, q k v out, two of the FFN
    for layer in adapter.layers.values():
        for part in range(layer.parts):
            with torch.no_grad():
                layer.lora_B[part].fill_(0.3)
                assert not torch.equal(logits(model), before)
                layer.lora_B[part].zero_()
    assert torch.equal(logits(model), before)


def test_gradients_reach_the_adapter_alone(model: MusicGen) -> None:
    adapter = shaken(model)
    text = model.conditioner(["techno"])
    sequence = torch.zeros(1, model.lm.config.num_codebooks, 5, dtype=torch.long)
    model.lm(sequence, text.states.clone(), text.mask).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in adapter.parameters())
    assert all(p.grad is None for name, p in model.lm.named_parameters() if "lora" not in name)


def test_strength_goes_from_the_base_over_the_finetune_beyond(model: MusicGen) -> None:
    base = logits(model)
    adapter = shaken(model)
    full = logits(model)
    adapter.strength = 0
    assert torch.equal(logits(model), base)
    adapter.strength = 0.5
    half = (logits(model) - base).norm()
    assert 0 < half < (full - base).norm()
    adapter.strength = 1.5
    assert (logits(model) - base).norm() > (full - base).norm()


def test_merging_gives_the_same_model_without_the_adapter(model: MusicGen) -> None:
    adapter = shaken(model)
    adapter.strength = 0.7
    adapted = logits(model)
    adapter.merge()
    torch.testing.assert_close(logits(model), adapted, rtol=1e-4, atol=1e-5)
    assert not any("lora" in name for name, _ in model.lm.named_parameters())


def test_saved_and_loaded_it_is_the_same_bytes(model: MusicGen, tiny_checkpoint: Path, tmp_path: Path) -> None:
    adapter = shaken(model)
    adapters.save(adapter, tmp_path, base="tiny", base_sha256=model.sha256)
    other = checkpoint.load(tiny_checkpoint)
    loaded = adapters.load(other.lm, tmp_path, base_sha256=other.sha256)
    assert torch.equal(logits(other), logits(model))
    assert loaded.shape == adapters.AdapterShape(4, 8.0, 0.0)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT asks transformers by an old name
def test_peft_on_transformers_reads_it_and_hears_the_same(model: MusicGen, tiny_checkpoint: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    from transformers import MusicgenForConditionalGeneration

    adapter = shaken(model)
    adapters.save(adapter, tmp_path, base="tiny", base_sha256=model.sha256)
    theirs = peft.PeftModel.from_pretrained(MusicgenForConditionalGeneration.from_pretrained(tiny_checkpoint), tmp_path).eval()
    assert not [name for name, p in theirs.named_parameters() if "lora_B" in name and not p.abs().sum() > 0]
    torch.manual_seed(2)
    K, S = model.lm.config.num_codebooks, 7
    sequence = torch.randint(0, model.lm.config.card, (1, K, S))
    tokens = model.conditioner.tokenizer("dark techno", return_tensors="pt")
    with torch.no_grad():
        expected = theirs(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, decoder_input_ids=sequence[0]).logits
        text = model.conditioner(["dark techno"])
        ours = model.lm(sequence, text.states, text.mask)  # (1, K, S, card)
    torch.testing.assert_close(ours[0], expected.view(K, S, -1), rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_is_refused_in_words(model: MusicGen, tmp_path: Path) -> None:
    with pytest.raises(adapters.AdapterError, match="can't be read"):
        adapters.load(model.lm, tmp_path)
    adapter = shaken(model)
    adapters.save(adapter, tmp_path, base="tiny", base_sha256="a" * 64)
    adapter.detach()
    with pytest.raises(adapters.AdapterError, match="was trained on tiny"):
        adapters.load(model.lm, tmp_path, base_sha256="b" * 64)
    tensors = adapter.state()
    tensors.pop(next(iter(tensors)))
    again = adapters.attach(model.lm, adapter.shape)
    with pytest.raises(adapters.AdapterError, match="lacks"):
        again.load_state(tensors)
    with pytest.raises(adapters.AdapterError, match="once"):
        adapters.attach(model.lm)
