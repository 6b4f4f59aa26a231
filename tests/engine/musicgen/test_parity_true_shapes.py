"""The same comparisons at musicgen-small's true sizes: 24 layers of width 1,024, 16 heads, 4 × 2,048 codes; random weights.

A handful of frames: the decoder alone is 420 M numbers. Text states are made up, so that no T5 of 110 M is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from engine.musicgen.checkpoint import build_lm, quiet_transformers
from engine.musicgen.delay import apply_delay, delays_for, undo_delay
from engine.musicgen.model import LanguageModel, LanguageModelConfig
from engine.musicgen.sampling import guide
from engine.musicgen.weights import Weights, lm_to_audiocraft

pytestmark = pytest.mark.parity

CONFIG = LanguageModelConfig(num_codebooks=4, card=2048, width=1024, num_layers=24, num_heads=16, ffn_width=4096, delays=delays_for(4))
TOLERANCE = 1e-4
PROMPT_FRAMES, NEW_FRAMES = 5, 3


@pytest.fixture(scope="module")
def decoder(one_thread: None) -> Iterator[Weights]:
    """transformers' names; scaled so that activations and logits are of order one."""
    from transformers import MusicgenDecoderConfig, MusicgenForCausalLM

    with quiet_transformers(), torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in MusicgenForCausalLM(MusicgenDecoderConfig()).state_dict().items()}
    noise = torch.rand(2**22 + 1009 * len(shapes), generator=torch.Generator().manual_seed(3)) - 0.5  # drawing 420 M takes too long:
    weights: Weights = {}
    for index, (name, shape) in enumerate(shapes.items()):
        if "norm" in name:
            weights[name] = torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
        else:  # … so each reads the same draw from another place
            scale = 1.0 if "embed" in name else 3.5 * shape[-1] ** -0.5
            weights[name] = noise[1009 * index :][: math.prod(shape)].view(shape) * scale
    yield weights
    weights.clear()


@pytest.fixture(scope="module")
def lm(decoder: Weights) -> LanguageModel:
    return build_lm(CONFIG, decoder, device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def text() -> tuple[Tensor, Tensor]:
    """States ``(2, L, C)`` after projection and mask ``(2, L)``: a text, and none."""
    states = torch.randn(2, 9, CONFIG.width, generator=torch.Generator().manual_seed(5))
    states[1] = 0
    return states, torch.tensor([[1] * 9, [0] * 9])


@pytest.fixture(scope="module")
def sequence(lm: LanguageModel) -> Tensor:
    """An audio prompt and made-up frames after it, delayed: ``(1, K, S)``."""
    codes = torch.randint(CONFIG.card, (1, 4, PROMPT_FRAMES + NEW_FRAMES), generator=torch.Generator().manual_seed(6))
    return apply_delay(codes, lm.pad)


@pytest.fixture(scope="module")
def our_logits(lm: LanguageModel, text: tuple[Tensor, Tensor], sequence: Tensor) -> Tensor:
    """By prefill and single steps: ``(2, K, S, card)``; rows with the text and without."""
    with torch.inference_mode():
        state = lm.begin(*text, capacity=sequence.shape[2])
        steps = [lm.prefill(sequence[:, :, :1], state)]
        steps += [lm.decode_one(sequence[:, :, step], state) for step in range(1, sequence.shape[2])]
    return torch.stack(steps, dim=2)


@pytest.fixture(scope="module")
def our_greedy(lm: LanguageModel, text: tuple[Tensor, Tensor], sequence: Tensor) -> Tensor:
    """Greedy codes with guidance 3 after the prompt: ``(K, NEW_FRAMES)``."""
    filled = apply_delay(sequence.new_full((1, 4, PROMPT_FRAMES + NEW_FRAMES), -1), lm.pad)
    filled[:, :, : PROMPT_FRAMES + 1] = sequence[:, :, : PROMPT_FRAMES + 1]
    for k in range(4):  # the prompt's codes that come later
        filled[:, k, : 1 + k + PROMPT_FRAMES] = sequence[:, k, : 1 + k + PROMPT_FRAMES]
    with torch.inference_mode():
        state = lm.begin(*text, capacity=sequence.shape[2])
        logits = lm.prefill(filled[:, :, : PROMPT_FRAMES + 1], state)
        for step in range(PROMPT_FRAMES + 1, filled.shape[2]):
            choice = guide(logits, 3.0)[0].argmax(-1)
            filled[0, :, step] = torch.where(filled[0, :, step] == -1, choice, filled[0, :, step])
            logits = lm.decode_one(filled[:, :, step], state)
    return undo_delay(filled)[0, :, PROMPT_FRAMES:]


def test_transformers_agrees(
    decoder: Weights, text: tuple[Tensor, Tensor], sequence: Tensor, our_logits: Tensor, our_greedy: Tensor
) -> None:
    from transformers import MusicgenDecoderConfig, MusicgenForCausalLM

    config = MusicgenDecoderConfig()
    with quiet_transformers():
        hf = MusicgenForCausalLM.from_pretrained(None, config=config, state_dict=decoder).eval()
    states, mask = text
    with torch.inference_mode():
        out = hf(sequence.repeat(2, 1, 1).flatten(0, 1), encoder_hidden_states=states, encoder_attention_mask=mask)
    expected = out.logits.view(2, 4, -1, CONFIG.card)
    assert expected.std() > 0.5
    assert (our_logits - expected).abs().max() < TOLERANCE

    codes = torch.cat([undo_delay(sequence)[0, :, :PROMPT_FRAMES], our_greedy], dim=1)
    with torch.inference_mode():  # each code is the likeliest after those before it, so decoding would have chosen it too
        heard = apply_delay(codes[None], CONFIG.card)
        out = hf(heard.repeat(2, 1, 1).flatten(0, 1), encoder_hidden_states=states, encoder_attention_mask=mask)
    likeliest = guide(out.logits.view(2, 4, -1, CONFIG.card), 3.0).argmax(-1)  # (1, K, S): of the step after each
    assert torch.equal(undo_delay(likeliest.roll(1, dims=2))[0, :, PROMPT_FRAMES:], our_greedy)


def test_audiocraft_agrees(decoder: Weights, text: tuple[Tensor, Tensor], sequence: Tensor, our_logits: Tensor, our_greedy: Tensor) -> None:
    pytest.importorskip("audiocraft", reason="audiocraft is not installed (scripts/install-audiocraft)")
    from audiocraft.models import LMModel
    from audiocraft.modules.codebooks_patterns import DelayedPatternProvider
    from audiocraft.modules.conditioners import ConditionFuser, ConditioningAttributes, ConditioningProvider
    from audiocraft.modules.transformer import set_efficient_attention_backend

    set_efficient_attention_backend("torch")

    class MadeUpText(ConditioningProvider):
        """Conditions of ``generate``: the text and none, already projected."""

        def forward(self, tokenized: object) -> dict[str, tuple[Tensor, Tensor]]:
            return {"description": text}

    fuser = ConditionFuser({"cross": ["description"], "sum": [], "prepend": [], "input_interpolate": []})
    with torch.device("meta"):
        peer = LMModel(
            DelayedPatternProvider(4),
            MadeUpText({}),
            fuser,
            n_q=4,
            card=2048,
            dim=1024,
            num_heads=16,
            num_layers=24,
            norm_first=True,
            causal=True,
            memory_efficient=True,
            cross_attention=True,
            bias_proj=False,
            bias_ff=False,
            bias_attn=False,
            activation="gelu",
        )
    peer.load_state_dict(lm_to_audiocraft(decoder, {}), assign=True)
    peer.eval()
    with torch.inference_mode():
        expected = peer(sequence.repeat(2, 1, 1), [], {"description": text})
    assert (our_logits - expected).abs().max() < TOLERANCE

    prompt = undo_delay(sequence)[:, :, :PROMPT_FRAMES]
    codes = peer.generate(
        prompt, [ConditioningAttributes()], max_gen_len=PROMPT_FRAMES + NEW_FRAMES, use_sampling=False, cfg_coef=3.0, remove_prompts=True
    )
    assert torch.equal(codes[0], our_greedy)
