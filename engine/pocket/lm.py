"""What the stage `lm` trains and `package` writes: a language model (engine/musicgen/model.py, the same class that the engine runs), a
small T5 encoder and the projection between them. The training loop is in lm_training.py."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import T5Config, T5EncoderModel

from engine.musicgen.model import LanguageModel, LanguageModelConfig

BEAT_FRAMES = 32  # more than there can be until the next beat: 28.3, at 110 BPM


@dataclass(frozen=True, slots=True)
class PocketSizes:
    """Sizes of language model and text encoder."""

    num_codebooks: int = 4
    card: int = 512
    width: int = 256
    num_layers: int = 6
    num_heads: int = 4
    ffn_width: int = 1024
    text_width: int = 128
    text_layers: int = 2
    text_heads: int = 4
    vocabulary: int = 640

    def as_dict(self) -> dict[str, int]:
        """For a checkpoint's facts."""
        return asdict(self)


def text_config(sizes: PocketSizes) -> T5Config:
    """A T5 encoder, in small."""
    return T5Config(
        vocab_size=sizes.vocabulary, d_model=sizes.text_width, d_kv=sizes.text_width // sizes.text_heads, d_ff=2 * sizes.text_width,
        num_layers=sizes.text_layers, num_heads=sizes.text_heads, dropout_rate=0.0, is_encoder_decoder=False, use_cache=False,
        tie_word_embeddings=False, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip


class PocketLM(nn.Module):
    """Text tokens and codes in, logits out."""

    def __init__(self, sizes: PocketSizes, *, beat_parts: int = 1) -> None:
        """`beat_parts`: into how many parts of a frame the time until the next beat is counted."""
        super().__init__()
        self.sizes, self.beat_parts = sizes, beat_parts
        self.lm = LanguageModel(
            LanguageModelConfig(
                num_codebooks=sizes.num_codebooks,
                card=sizes.card,
                width=sizes.width,
                num_layers=sizes.num_layers,
                num_heads=sizes.num_heads,
                ffn_width=sizes.ffn_width,
                delays=tuple(range(sizes.num_codebooks)),
            )
        )
        self.text_encoder = T5EncoderModel(text_config(sizes))
        self.projection = nn.Linear(sizes.text_width, sizes.width)
        self.beat = nn.Linear(sizes.width, BEAT_FRAMES * beat_parts)  # for training only: see `forward`; it does not ship
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Embeddings about as loud as the positions, branches that start at nothing (zero last matrices, as in modded-nanogpt)."""
        self.lm.embeddings.weight.normal_(0, 0.35)
        self.lm.heads.weight.normal_(0, 0.02)
        for layer in self.lm.layers:
            for matrix in (layer.self_attention.qkv, layer.text_attention.query, layer.text_attention.key_value, layer.up):
                matrix.weight.normal_(0, matrix.in_features**-0.5)
            for matrix in (layer.self_attention.out, layer.text_attention.out, layer.down):
                matrix.weight.zero_()

    def hidden_matrices(self) -> list[nn.Parameter]:
        """What Muon trains: the decoder layers' matrices. Everything else is AdamW's."""
        return [p for layer in self.lm.layers for n, p in layer.named_parameters() if p.dim() == 2]

    def text_states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids and mask [B, L] → states [B, L, C]."""
        return self.projection(self.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state)

    def forward(self, sequence: Tensor, ids: Tensor, mask: Tensor, has_text: Tensor) -> tuple[Tensor, Tensor]:
        """Sequence [B, K, S], text ids and mask [B, L], `has_text` [B] bool (False: null condition).

        → logits [B, K, S, card], and logits [B, S, BEAT_FRAMES × beat_parts] of the time to the next beat. The latter teach the trunk to
        count: before the second kick only the text can tell, and the codes alone say so in one frame of hundreds, which was not enough.
        """
        text = self.lm.attend_to(self.text_states(ids, mask), mask * has_text[:, None].to(mask.dtype))
        x = self.lm.states(sequence, text, None, 0)  # (B, S, C)
        return self.lm.logits_of(x), self.beat(x)


def tokenise(tokenizer: Any, prompts: list[str]) -> tuple[Tensor, Tensor]:
    """Prompts → ids and mask [B, L], padded."""
    batch = tokenizer(prompts, padding=True, truncation=True, max_length=96, return_tensors="pt")
    return batch.input_ids, batch.attention_mask
