"""A random, tiny MusicGen folder, so that tests and examples run the real code on real shapes in a second or two.

Every part is there in small: T5 with a tokenizer of its own, EnCodec at 50 frames a second, a decoder of two layers. What it
plays is noise. Not here: anything that a real checkpoint needs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_WORDS = ("techno", "house", "dark", "driving", "deep", "acid", "bass", "kick", "hats", "at", "bpm", "Alice", "hash", "with", "and")
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.,!?'&/"


@dataclass(frozen=True, slots=True)
class DecoderSizes:
    """Of the language model; text encoder and codec stay tiny."""

    width: int = 64
    num_layers: int = 2
    num_heads: int = 4
    ffn_width: int = 128
    card: int = 64


TINY = DecoderSizes()
MUSICGEN_SMALL = DecoderSizes(width=1024, num_layers=24, num_heads=16, ffn_width=4096, card=2048)
"""facebook/musicgen-small's decoder, for measurements of speed: 420 M numbers, 1.7 GB on disk."""


def write_tiny_checkpoint(
    folder: str | Path,
    *,
    sizes: DecoderSizes = TINY,
    seed: int = 0,
    channels: int = 1,
    sample_rate: int = 32_000,
    window_frames: int = 1500,
) -> Path:
    """Write a transformers MusicGen folder with random weights from ``seed``, and return its path.

    ``channels=2`` gives the stereo form: 8 codebooks, left and right interleaved, over a mono EnCodec, as Meta's are.
    ``sample_rate`` in Hz must be a multiple of 50; a code frame is always 1/50 s.
    """
    from transformers import (
        EncodecConfig,
        GenerationConfig,
        MusicgenConfig,
        MusicgenDecoderConfig,
        MusicgenForConditionalGeneration,
        T5Config,
    )

    folder = Path(folder)
    if channels not in (1, 2):
        raise ValueError(f"channels must be 1 or 2, not {channels}")
    card = sizes.card
    tokenizer = _tokenizer()
    config = MusicgenConfig(
        text_encoder=T5Config(
            vocab_size=len(tokenizer),
            d_model=32,
            d_kv=8,
            d_ff=64,
            num_layers=2,
            num_heads=4,
            is_encoder_decoder=False,
            use_cache=False,
            dropout_rate=0.0,
        ).to_dict(),
        audio_encoder=EncodecConfig(
            sampling_rate=sample_rate,
            audio_channels=1,
            upsampling_ratios=_ratios(sample_rate // 50),
            num_filters=4,
            hidden_size=16,
            codebook_size=card,
            codebook_dim=16,
            target_bandwidths=[4 * math.log2(card) * 50 / 1000],  # kbit/s: 4 codebooks × 6 bits × 50 Hz are 1.2
            use_causal_conv=False,
            norm_type="weight_norm",
            num_lstm_layers=1,
            use_conv_shortcut=False,
        ).to_dict(),
        decoder=MusicgenDecoderConfig(
            vocab_size=card,
            max_position_embeddings=2048,
            num_hidden_layers=sizes.num_layers,
            ffn_dim=sizes.ffn_width,
            num_attention_heads=sizes.num_heads,
            hidden_size=sizes.width,
            dropout=0.0,
            num_codebooks=4 * channels,
            audio_channels=channels,
            pad_token_id=card,
            bos_token_id=card,
        ).to_dict(),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MusicgenForConditionalGeneration(config).eval()
        _make_lively(model)
    model.generation_config = GenerationConfig(
        do_sample=True,
        guidance_scale=3.0,
        max_length=window_frames,
        bos_token_id=card,
        pad_token_id=card,
        decoder_start_token_id=card,
    )
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer() -> Any:
    """A unigram tokenizer in T5's form: a few words, every ASCII letter, and <unk> for the rest."""
    from transformers import T5Tokenizer

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(f"▁{word}", -3.0) for word in _WORDS]
    pieces += [(letter, -6.0) for letter in _LETTERS]
    return T5Tokenizer(vocab=pieces, extra_ids=0)


def _ratios(hop: int) -> list[int]:
    """``hop`` as a product of strides, the largest first: 640 -> [8, 5, 4, 4]."""
    ratios: list[int] = []
    for ratio in (8, 5, 4, 3, 2):
        while hop % ratio == 0 and hop > 1 and len(ratios) < 6:
            ratios.append(ratio)
            hop //= ratio
    if hop != 1:
        raise ValueError("sample_rate must be 50 × a product of 2, 3, 4, 5 and 8")
    return ratios


@torch.no_grad()
def _make_lively(model: Any) -> None:
    """Scale the random weights so that logits differ clearly between codes, and audio is heard and does not clip."""
    for name, parameter in model.decoder.named_parameters():
        if "norm" not in name:
            parameter.normal_(0.0, 0.5 if "embed" in name else 1.5 * parameter.shape[-1] ** -0.5)
    codec = model.audio_encoder
    for name, parameter in codec.named_parameters():
        if "bias" in name:
            parameter.zero_()  # so that what comes out follows what goes in
    seconds = torch.linspace(0, 4, 4 * codec.config.sampling_rate)
    audio = torch.rand_like(seconds).sub(0.5) * (-20 * (seconds % 0.3)).exp() + 0.3 * (440 * seconds * (1 + seconds)).sin()
    residual = codec.encoder(audio[None, None])  # (1, width, T)
    _scale(codec.encoder.layers[-1], 1 / residual.std())
    residual = codec.encoder(audio[None, None])
    for layer in codec.quantizer.layers:
        count, size = residual.shape[-1], codec.config.codebook_size
        frames = torch.randperm(count)[:size] if count >= size else torch.randint(count, (size,))  # a large codebook repeats itself
        layer.codebook.embed.copy_(residual[0, :, frames].T)
        layer.codebook.embed_avg.copy_(layer.codebook.embed)
        residual = residual - layer.decode(layer.encode(residual))
        residual += 0.3 * torch.randn_like(residual)  # a frame that is its own code leaves nothing to the next codebook
    codes = torch.randint(codec.config.codebook_size, (1, 1, 4, 100))
    _scale(codec.decoder.layers[-1], 0.1 / codec.decode(codes, [None]).audio_values.std())  # about −20 dBFS


def _scale(convolution: Any, gain: Tensor) -> None:
    """Multiply what an EnCodec convolution gives, by its weight norm's g."""
    convolution.conv.parametrizations.weight.original0.mul_(gain)
    convolution.conv.bias.zero_()


def write_tiny_adapter(folder: str | Path, checkpoint: str | Path, *, seed: int = 0, rank: int = 4, loud: float = 0.1, **card: Any) -> Path:
    """Write an adapter on the checkpoint in ``checkpoint`` that clearly changes it, as a finetune by LoRA leaves one, and return its path.

    ``loud``: standard deviation of its numbers. ``card``: what its card is to say otherwise; its parent is the checkpoint's folder's name.
    """
    from engine.files import write_json
    from engine.musicgen.checkpoint import load
    from engine.training import adapters

    folder, base = Path(folder), load(checkpoint)
    generator = torch.Generator().manual_seed(seed)
    adapter = adapters.attach(base.lm, adapters.AdapterShape(rank=rank, alpha=2.0 * rank, dropout=0.0))
    for parameter in adapter.parameters():
        parameter.data.normal_(0.0, loud, generator=generator)
    adapters.save(adapter, folder / "adapter", base=Path(checkpoint).name, base_sha256=base.sha256)
    facts = {"kind": "finetuned", "parent": Path(checkpoint).name, "parent_sha256": base.sha256, "owner": None, "gate": "passed"}
    write_json(folder / "card.json", {"name": folder.name} | facts | card)
    return folder
