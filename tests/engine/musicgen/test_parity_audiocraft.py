"""This project's language model and audiocraft 1.3.0's, on the same random weights, both ways through audiocraft's files.

audiocraft pads shorter prompts of a batch and attends to the padding, which transformers and this project do not: the prompts of
a batch have the same number of tokens here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.musicgen.audiocraft_files import CODEC_FILE, LM_FILE, TEXT_ENCODER_FOLDER, export_audiocraft, import_audiocraft
from engine.musicgen.checkpoint import export, load
from engine.musicgen.delay import apply_delay
from engine.musicgen.generate import MusicGen, SamplingOptions

pytest.importorskip("audiocraft", reason="audiocraft is not installed (scripts/install-audiocraft)")
pytestmark = pytest.mark.parity

GREEDY = SamplingOptions(temperature=0.0, guidance_scale=3.0)
PROMPTS = ["dark techno", "deep house", "acid bass"]
TOLERANCE = 1e-4


@pytest.fixture(autouse=True)
def _torch_attention() -> None:
    from audiocraft.modules.transformer import set_efficient_attention_backend

    set_efficient_attention_backend("torch")


@pytest.fixture
def pair(tmp_path: Path, _t5_from_disk: None, t5_folder: Path) -> tuple[Path, Any, Any]:
    """Files that audiocraft's own builders and random weights made, and the two models in them."""
    from audiocraft.models import builders
    from omegaconf import OmegaConf

    lm_settings = OmegaConf.create(
        {
            "device": "cpu",
            "dtype": "float32",
            "sample_rate": 32000,
            "dataset": {"segment_duration": 10},
            "lm_model": "transformer_lm",
            "transformer_lm": {
                "n_q": 4, "card": 64, "dim": 48, "num_heads": 6, "num_layers": 3, "hidden_scale": 4, "norm_first": True, "causal": True,
                "memory_efficient": True, "bias_proj": False, "bias_ff": False, "bias_attn": False, "activation": "gelu",
            },
            "codebooks_pattern": {"modeling": "delay", "delay": {"delays": [0, 1, 2, 3]}},
            "attribute_dropout": {},
            "classifier_free_guidance": {"training_dropout": 0.3, "inference_coef": 3.0},
            "conditioners": {"description": {"model": "t5", "t5": {"name": "t5-base", "finetune": False}}},
            "fuser": {"sum": [], "prepend": [], "input_interpolate": [], "cross": ["description"]},
        }
    )  # fmt: skip
    codec_settings = OmegaConf.create(
        {
            "device": "cpu",
            "sample_rate": 32000,
            "channels": 1,
            "compression_model": "encodec",
            "encodec": {"autoencoder": "seanet", "quantizer": "rvq", "sample_rate": "${sample_rate}", "channels": "${channels}"},
            "seanet": {
                "dimension": 16, "channels": "${channels}", "n_filters": 4, "n_residual_layers": 2, "ratios": [8, 5, 4, 4], "lstm": 1,
                "norm": "weight_norm", "true_skip": False, "causal": False, "encoder": {}, "decoder": {"trim_right_ratio": 1.0},
            },
            "rvq": {"n_q": 6, "bins": 64},
        }
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        lm = builders.get_lm_model(lm_settings).eval()
        codec = builders.get_compression_model(codec_settings).eval()
        for name, parameter in lm.named_parameters():
            if "norm" not in name:
                parameter.data.normal_(0, 1.5 * (1.0 if "emb" in name else parameter.shape[-1] ** -0.5))
        for layer in codec.quantizer.vq.layers:
            layer._codebook.embed.normal_()
    codec.set_num_codebooks(4)
    torch.save({"best_state": lm.state_dict(), "xp.cfg": OmegaConf.to_yaml(lm_settings)}, tmp_path / LM_FILE)
    torch.save({"best_state": codec.state_dict(), "xp.cfg": OmegaConf.to_yaml(codec_settings)}, tmp_path / CODEC_FILE)
    return tmp_path, lm, codec


def _attributes(prompts: list[str | None]) -> list[Any]:
    from audiocraft.modules.conditioners import ConditioningAttributes

    return [ConditioningAttributes(text={"description": prompt}) for prompt in prompts]


def _greedy(lm: Any, prompts: list[str], frames: int, prompt_codes: Tensor | None = None) -> Tensor:
    """(B, K, frames) after the prompt"""
    heard = 0 if prompt_codes is None else prompt_codes.shape[-1]
    codes: Tensor = lm.generate(
        prompt_codes, _attributes(list(prompts)), max_gen_len=heard + frames, use_sampling=False, cfg_coef=3.0, remove_prompts=True
    )
    return codes


def test_logits_of_an_imported_pair_agree_with_text_and_without(pair: tuple[Path, Any, Any], t5_folder: Path) -> None:
    folder, lm, _ = pair
    model = import_audiocraft(folder, text_encoder=t5_folder)
    codes = torch.randint(64, (4, 4, 60), generator=torch.Generator().manual_seed(1))
    sequence = apply_delay(codes, model.lm.pad)
    with torch.inference_mode():
        expected = lm(sequence, _attributes([*PROMPTS, None]))
        conditioning = model.conditioner([*PROMPTS, None])
        logits = model.lm(sequence, conditioning.states, conditioning.mask)
    assert expected.std() > 0.5
    assert (logits - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("prompt_seconds", [0.0, 1.5])
def test_greedy_codes_of_an_imported_pair_are_identical_for_200_frames(
    pair: tuple[Path, Any, Any],
    t5_folder: Path,
    run: Callable[..., Tensor],
    some_audio: Callable[..., Tensor],
    batch: int,
    prompt_seconds: float,
) -> None:
    folder, lm, codec = pair
    model = import_audiocraft(folder, text_encoder=t5_folder)
    assert model.window_frames == 500

    audio = [some_audio(prompt_seconds, seed) for seed in range(batch)] if prompt_seconds else None
    with torch.no_grad():
        prompt_codes = codec.encode(torch.stack(audio))[0] if audio else None
    expected = _greedy(lm, PROMPTS[:batch], 200, prompt_codes)

    takes = [
        model.start(prompt=prompt, frames=200, sampling=GREEDY, seed=0, prompt_audio=audio[index] if audio else None)
        for index, prompt in enumerate(PROMPTS[:batch])
    ]
    codes = run(*takes)
    assert len(codes.unique()) > 10
    assert torch.equal(codes, expected)
    if not audio:  # and the codec that came with it sounds the same
        with torch.no_grad():
            theirs = codec.decode(expected)[0]
        assert (takes[0].audio() - theirs).abs().max() < 1e-5


@pytest.mark.parametrize("kind", ["tiny", "tiny_stereo"])
def test_an_exported_pair_gives_the_same_codes_and_audio_in_audiocraft(
    request: pytest.FixtureRequest,
    kind: str,
    tmp_path: Path,
    _t5_from_disk: None,
    run: Callable[..., Tensor],
    some_audio: Callable[..., Tensor],
) -> None:
    from audiocraft.models import MusicGen as AudiocraftMusicGen

    tiny: MusicGen = request.getfixturevalue(kind)
    peer = AudiocraftMusicGen.get_pretrained(str(export_audiocraft(tiny, tmp_path)), device="cpu")
    peer.set_generation_params(use_sampling=False, duration=2.0, cfg_coef=3.0)
    audio, codes = peer.generate(PROMPTS[:1], return_tokens=True)
    take = tiny.start(prompt=PROMPTS[0], frames=100, sampling=GREEDY, seed=0)
    assert torch.equal(run(take), codes)
    assert (take.audio() - audio[0]).abs().max() < 1e-5

    heard = some_audio(0.5, channels=tiny.channels)
    with torch.no_grad():
        assert torch.equal(peer.compression_model.encode(heard[None])[0][0], tiny.codec.encode(heard))


@pytest.mark.parametrize("kind", ["tiny", "tiny_stereo"])
def test_a_pair_comes_back_as_it_went(request: pytest.FixtureRequest, kind: str, tmp_path: Path, run: Callable[..., Tensor]) -> None:
    model: MusicGen = request.getfixturevalue(kind)
    again = import_audiocraft(export_audiocraft(model, tmp_path / "pair"))
    assert (tmp_path / "pair" / TEXT_ENCODER_FOLDER).is_dir()
    through = load(export(again, tmp_path / "folder"))
    expected = run(model.start(prompt=PROMPTS[0], frames=40, sampling=GREEDY, seed=0))
    for other in (again, through):
        assert other.window_frames == model.window_frames
        take = other.start(prompt=PROMPTS[0], frames=40, sampling=GREEDY, seed=0)
        assert torch.equal(run(take), expected)
        assert take.audio().shape == (model.channels, 40 * 640)


def test_windows_past_what_the_model_hears_are_audiocrafts(
    pair: tuple[Path, Any, Any], t5_folder: Path, run: Callable[..., Tensor], some_audio: Callable[..., Tensor]
) -> None:
    """26 s and a prompt from a model that hears 10 s: the same strides, and the same greedy codes in each window."""
    from audiocraft.models import MusicGen as AudiocraftMusicGen

    folder, lm, codec = pair
    model = import_audiocraft(folder, text_encoder=t5_folder)
    model.window_frames = 100  # 2 s
    peer = AudiocraftMusicGen("peer", codec, lm, max_duration=30)
    peer.max_duration = 2.0
    peer.set_generation_params(use_sampling=False, duration=5.2, extend_stride=1.2)
    heard = some_audio(0.5)
    _, codes = peer.generate_continuation(heard, 32_000, PROMPTS[:1], return_tokens=True)
    ours = run(model.start(prompt=PROMPTS[0], frames=260 - 25, sampling=GREEDY, seed=0, prompt_audio=heard))
    assert torch.equal(ours, codes[:, :, 25:])
