"""From the stages' checkpoints to the shipped folder, a transformers MusicGen in half precision that loads like any other; and back.

weights/  config.json  generation_config.json  model.safetensors  preprocessor_config.json  tokenizer.json  tokenizer_config.json  README.md
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import EncodecFeatureExtractor, MusicgenConfig, MusicgenDecoderConfig, PreTrainedTokenizerFast

from engine.files import write_atomically
from engine.musicgen.weights import lm_to_transformers
from engine.pocket import lm_training, sharpening
from engine.pocket.codec import PocketCodec
from engine.pocket.listening import DEFAULT_SAMPLING
from engine.pocket.lm import PocketLM, PocketSizes, text_config
from engine.pocket.lm_codes import frozen_codec
from engine.training.states import load_checkpoint, save_checkpoint

WEIGHTS = Path(__file__).parent / "weights"
MAX_BYTES = 30_000_000
TRAINED_STAGES = ("codec", "lm", "tempo", "sharpen")


def package(out: Path, folder: Path = WEIGHTS, *, window_frames: int = 512) -> Path:
    """Writes the checkpoints under `out` as a MusicGen folder, but for the card (card.md, filled in by hand from the logs).

    `window_frames`: what the language model has learned to hear at once. Raises ValueError above 30 MB.
    """
    model, codec = lm_training.load_trained(out), frozen_codec(out)
    if (out / "sharpen.safetensors").exists():
        codec = sharpening.load_trained(out)  # the same codes, another decoder
    tokenizer = PreTrainedTokenizerFast.from_pretrained(out / "tokenizer")
    write(model, codec, tokenizer, folder, window_frames=window_frames, made=how_it_was_made(out))
    size = sum(p.stat().st_size for p in folder.iterdir() if p.is_file())
    if size > MAX_BYTES:
        raise ValueError(
            f"{folder} has {size / 1e6:.1f} MB: more than the {MAX_BYTES / 1e6:.0f} MB that may ship; make the networks smaller"
        )
    return folder


def how_it_was_made(out: Path) -> dict[str, str]:
    """What the weights say of themselves, in the file's header: steps done and settings, the seed among them, of each stage, as JSON; and
    `before`, if they were not made from nothing, the same of the package that was unpacked."""
    made = {}
    for stage in TRAINED_STAGES:
        saved = load_checkpoint(out / f"{stage}.safetensors")
        if saved is not None:
            facts = saved[1]
            made[stage] = json.dumps({"step": facts["step"], "settings": facts["settings"]})
            made |= {"before": json.dumps(facts["before"])} if facts.get("before") else {}
    return made


def unpack(folder: Path, out: Path) -> None:
    """The way back: codec and language model of a packaged folder as checkpoints under `out`, for later stages to go on from.

    The stages `tempo` and `sharpen` begin with averaged weights in half precision, which is what a package holds: they come to the same
    from there as from the checkpoints of `codec` and `lm`. Raises FileExistsError where `out` has checkpoints already.
    """
    from engine.musicgen.checkpoint import load

    there = [name for name in ("codec", "lm") if (out / f"{name}.safetensors").exists()]
    if there:
        raise FileExistsError(f"{out / there[0]}.safetensors is there already: name another --out")
    made = {k: json.loads(v) for k, v in header(folder).items() if k != "format"}
    before = made if set(made) - {"codec", "lm"} else {}
    musicgen, pieces = load(folder), out / "tokenizer"
    pieces.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / name, pieces / name)
    weights, config = stored_weights(folder), MusicgenConfig.from_pretrained(folder)
    codec = {f"averaged.{k[14:]}": v.float() for k, v in weights.items() if k.startswith("audio_encoder.")}
    codec |= {f"model.{k[9:]}": v for k, v in codec.items()}
    facts = {"quantised": True, "frozen": True, "seconds": 0.0, "config": config.audio_encoder.to_dict()}
    save_checkpoint(out / "codec.safetensors", codec, facts | made["codec"])
    text, decoder = config.text_encoder, config.decoder
    sizes = PocketSizes(
        num_codebooks=decoder.num_codebooks, card=decoder.vocab_size, width=decoder.hidden_size, num_layers=decoder.num_hidden_layers,
        num_heads=decoder.num_attention_heads, ffn_width=decoder.ffn_dim, text_width=text.d_model, text_layers=text.num_layers,
        text_heads=text.num_heads, vocabulary=text.vocab_size,
    )  # fmt: skip
    model = PocketLM(sizes)
    model.lm.load_state_dict(musicgen.lm.state_dict())
    model.text_encoder.load_state_dict({k[13:]: v for k, v in weights.items() if k.startswith("text_encoder.")}, strict=False)
    model.projection.load_state_dict({k[16:]: v for k, v in weights.items() if k.startswith("enc_to_dec_proj.")})
    averaged = {f"averaged.{k}": v for k, v in model.state_dict().items()}
    save_checkpoint(out / "lm.safetensors", averaged, {"seconds": 0.0, "sizes": sizes.as_dict(), "before": before} | made["lm"])


def write(model: PocketLM, codec: PocketCodec, tokenizer: Any, folder: Path, *, window_frames: int, made: Mapping[str, str]) -> None:
    """The folder itself. config.json, without which nothing loads, comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = model.sizes
    weights = {
        f"decoder.{k}": v
        for k, v in lm_to_transformers(model.lm.state_dict(), num_codebooks=sizes.num_codebooks, num_layers=sizes.num_layers).items()
    }
    # T5 ties its embedding under two names; one is enough, since loading ties it again.
    weights |= {f"text_encoder.{k}": v for k, v in model.text_encoder.state_dict().items() if k != "encoder.embed_tokens.weight"}
    weights |= {f"audio_encoder.{k}": v for k, v in codec.state_dict().items()}
    weights |= {f"enc_to_dec_proj.{k}": v for k, v in model.projection.state_dict().items()}
    half = {k: v.detach().to(torch.float16).contiguous() for k, v in weights.items()}
    write_atomically(folder / "model.safetensors", lambda p: save_file(half, p, {"format": "pt", **made}))
    with tempfile.TemporaryDirectory() as temporary:
        EncodecFeatureExtractor(feature_size=1, sampling_rate=codec.config.sampling_rate).save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        config(model, codec).save_pretrained(temporary)
        names = ["preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "config.json"]
        (folder / "generation_config.json").write_text(json.dumps(generation_settings(sizes.card, window_frames), indent=2) + "\n")
        for name in names:
            text = (Path(temporary) / name).read_text(encoding="utf-8")
            (folder / name).write_text(text, encoding="utf-8")


def config(model: PocketLM, codec: PocketCodec) -> MusicgenConfig:
    """transformers' configuration of the three networks together."""
    sizes = model.sizes
    decoder = MusicgenDecoderConfig(
        vocab_size=sizes.card, max_position_embeddings=2048, num_hidden_layers=sizes.num_layers, ffn_dim=sizes.ffn_width,
        num_attention_heads=sizes.num_heads, hidden_size=sizes.width, num_codebooks=sizes.num_codebooks, audio_channels=1,
        pad_token_id=sizes.card, bos_token_id=sizes.card, dropout=0.0, activation_function="gelu", tie_word_embeddings=False,
    )  # fmt: skip
    whole = MusicgenConfig(text_encoder=text_config(sizes).to_dict(), audio_encoder=codec.config.to_dict(), decoder=decoder.to_dict())
    whole.architectures = ["MusicgenForConditionalGeneration"]
    whole.dtype = "float16"
    return whole


def generation_settings(card: int, window_frames: int) -> dict[str, object]:
    """generation_config.json: the sampling at which the beat was steadiest is this checkpoint's default."""
    return {
        "bos_token_id": card,
        "decoder_start_token_id": card,
        "pad_token_id": card,
        "do_sample": True,
        "guidance_scale": DEFAULT_SAMPLING.guidance_scale,
        "temperature": DEFAULT_SAMPLING.temperature,
        "top_k": DEFAULT_SAMPLING.top_k,
        "max_length": window_frames,
    }


def header(folder: Path = WEIGHTS) -> dict[str, str]:
    """What the weights' file says of itself: `how_it_was_made`, and its format."""
    with safe_open(folder / "model.safetensors", "pt") as f:
        return dict(f.metadata() or {})


def stored_weights(folder: Path = WEIGHTS) -> dict[str, torch.Tensor]:
    """The shipped tensors by name."""
    return load_file(folder / "model.safetensors")
