"""audiocraft's files, in and out, without audiocraft: a ``state_dict.bin`` and ``compression_state_dict.bin`` pair.

    folder/  state_dict.bin              {"best_state": language model and text projection, "xp.cfg": configuration as YAML}
             compression_state_dict.bin  {"best_state": EnCodec, "xp.cfg": …}, or {"pretrained": hub name of an EnCodec}
             text_encoder/               T5 in transformers' form. audiocraft's own pairs have none: they mean t5-base on the hub

Both are pickles, and are only ever opened with ``weights_only=True``. Sizes are read off the tensors, and only the rest from the
configuration. Names of weights are in ``weights``; this knows files and configurations.
"""

from __future__ import annotations

import json
import math
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.musicgen import weights as names
from engine.musicgen.checkpoint import CheckpointError, Parts, assemble, disassemble, find, load, quiet_transformers
from engine.musicgen.delay import delays_for
from engine.musicgen.generate import MusicGen

LM_FILE = "state_dict.bin"
CODEC_FILE = "compression_state_dict.bin"
TEXT_ENCODER_FOLDER = "text_encoder"
_STOCK_T5 = "google-t5/t5-base"


def import_audiocraft(
    folder: str | Path,
    *,
    text_encoder: str | Path | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> MusicGen:
    """Load a pair. ``text_encoder``: folder or hub name of the T5 it was trained with, where the pair brings none.

    Raises CheckpointError: files missing, damaged or not plain tensors, or a model that is not MusicGen on text (melody, style).
    """
    from transformers import MusicgenConfig, MusicgenDecoderConfig

    folder = Path(folder).expanduser()
    lm_file, codec_file = folder / LM_FILE, folder / CODEC_FILE
    package, codec_package = _read(lm_file), _read(codec_file)
    settings = _settings(package, lm_file)
    try:
        decoder, projection = names.lm_from_audiocraft(package["best_state"])
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{lm_file} can't be used here: {error.args[0]}; ENGINE_BACKEND=audiocraft runs such models") from error
    transformer = _section(settings, "transformer_lm", lm_file)
    if not transformer.get("norm_first") or transformer.get("positional_embedding", "sin") != "sin":
        raise CheckpointError(f"{lm_file} is not a MusicGen: it needs norm_first and sinusoidal positions")
    codebooks = sum(name.startswith("lm_heads.") for name in decoder)
    channels = 2 if settings.get("interleave_stereo_codebooks", {}).get("use") else 1
    if _delays(settings, codebooks) != delays_for(codebooks, channels):
        raise CheckpointError(f"{lm_file} delays its codebooks by {_delays(settings, codebooks)}, which MusicGen does not")
    card, width = decoder["lm_heads.0.weight"].shape
    decoder_config = MusicgenDecoderConfig(
        vocab_size=card,
        hidden_size=width,
        num_codebooks=codebooks,
        audio_channels=channels,
        num_hidden_layers=sum(name.endswith(".fc1.weight") for name in decoder),
        ffn_dim=decoder["model.decoder.layers.0.fc1.weight"].shape[0],
        num_attention_heads=int(transformer["num_heads"]),
        activation_function=str(transformer.get("activation", "gelu")),
        pad_token_id=card,
        bos_token_id=card,
    )
    codec_config, codec = _codec(codec_package, codec_file, codebooks // channels)
    text_config, tokenizer, text = _text_encoder(text_encoder or _text_encoder_of(folder, settings))
    config = MusicgenConfig(text_encoder=text_config.to_dict(), audio_encoder=codec_config.to_dict(), decoder=decoder_config.to_dict())
    try:
        model = assemble(config, tokenizer, Parts(decoder, text, codec, projection), device=device, dtype=dtype)
    except names.MissingWeights as error:
        raise CheckpointError(f"{folder}: weights are {error.args[0]}; export the pair again") from error
    model.name = str(folder)
    model.weight_files = (lm_file, codec_file)
    model.window_frames = round(float(settings.get("dataset", {}).get("segment_duration", 30)) * model.frame_rate)
    return model


def export_audiocraft(model: MusicGen, folder: str | Path) -> Path:
    """Write ``model`` as a pair that ``audiocraft.models.MusicGen.get_pretrained(folder)`` reads, and its T5 beside it.

    audiocraft takes T5 from the hub by name: what it makes of a checkpoint with another text encoder is not the same.
    Raises CheckpointError where the codec is not an EnCodec, which audiocraft can't hold.
    """
    codec_config = model.config.audio_encoder
    if codec_config.model_type != "encodec":
        raise CheckpointError(
            f"audiocraft knows no codec of the kind {codec_config.model_type!r}; export to a transformers folder, "
            "or run the checkpoint as it is with ENGINE_BACKEND=audiocraft"
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    parts = disassemble(model)
    transposed = {f"decoder.layers.{index}." for index in _transposed_layers(codec_config)}
    codec = names.codec_to_audiocraft(parts.audio_encoder, transposed=transposed)
    header = {"version": "1.3.0", "exported": True}
    _write(folder / LM_FILE, {"best_state": lm_state(model), "xp.cfg": json.dumps(lm_settings(model)), **header})
    _write(folder / CODEC_FILE, {"best_state": codec, "xp.cfg": json.dumps(_codec_settings(model)), **header})
    with quiet_transformers():
        model.conditioner.text_encoder.save_pretrained(folder / TEXT_ENCODER_FOLDER)
        model.conditioner.tokenizer.save_pretrained(folder / TEXT_ENCODER_FOLDER)
    return folder


def lm_state(model: MusicGen) -> dict[str, Tensor]:
    """State dict of audiocraft's ``LMModel`` with ``model``'s weights, T5 left out as audiocraft does."""
    parts = disassemble(model)
    projection = parts.projection
    if not projection:  # equal widths: transformers has no projection there, audiocraft always
        width = model.lm.config.width
        projection = {"weight": torch.eye(width), "bias": torch.zeros(width)}
    return names.lm_to_audiocraft(parts.decoder, projection)


def lm_settings(model: MusicGen) -> dict[str, Any]:
    """The configuration from which audiocraft's ``builders.get_lm_model`` builds the same language model."""
    config = model.lm.config
    return {
        "device": "cpu",
        "dtype": "float32",
        "lm_model": "transformer_lm",
        "dataset": {"segment_duration": model.window_frames / model.frame_rate},
        "transformer_lm": {
            "n_q": config.num_codebooks,
            "card": config.card,
            "dim": config.width,
            "num_heads": config.num_heads,
            "num_layers": config.num_layers,
            "hidden_scale": config.ffn_width / config.width,
            "activation": config.activation,
            "norm": "layer_norm",
            "norm_first": True,
            "causal": True,
            "memory_efficient": True,
            "bias_proj": False,
            "bias_ff": False,
            "bias_attn": False,
            "dropout": 0.0,
        },
        "codebooks_pattern": {"modeling": "delay", "delay": {"delays": list(config.delays), "flatten_first": 0, "empty_initial": 0}},
        "attribute_dropout": {},
        "classifier_free_guidance": {"training_dropout": 0.3, "inference_coef": model.default_sampling.guidance_scale},
        "conditioners": {"description": {"model": "t5", "t5": {"name": "t5-base", "finetune": False, "word_dropout": 0.0}}},
        "fuser": {"sum": [], "prepend": [], "input_interpolate": [], "cross": ["description"]},
        "interleave_stereo_codebooks": {"use": model.channels == 2, "per_timestep": False},
        "compression_model_n_q": None,
    }


def _codec_settings(model: MusicGen) -> dict[str, Any]:
    config = model.config.audio_encoder
    return {
        "device": "cpu",
        "compression_model": "encodec",
        "encodec": {
            "autoencoder": "seanet",
            "quantizer": "rvq",
            "sample_rate": config.sampling_rate,
            "channels": config.audio_channels,
            "causal": config.use_causal_conv,
            "renormalize": config.normalize,
        },
        "seanet": {
            **{there: getattr(config, here) for here, there in _SEANET.items()},
            "ratios": list(config.upsampling_ratios),
            "true_skip": not config.use_conv_shortcut,
            "encoder": {},
            "decoder": {"trim_right_ratio": config.trim_right_ratio},
        },
        "rvq": {"n_q": len(model.codec.audio_encoder.quantizer.layers), "bins": config.codebook_size, "q_dropout": False},
    }


_SEANET = {  # transformers: audiocraft
    "audio_channels": "channels",
    "hidden_size": "dimension",
    "num_filters": "n_filters",
    "num_residual_layers": "n_residual_layers",
    "kernel_size": "kernel_size",
    "last_kernel_size": "last_kernel_size",
    "residual_kernel_size": "residual_kernel_size",
    "dilation_growth_rate": "dilation_base",
    "use_causal_conv": "causal",
    "pad_mode": "pad_mode",
    "compress": "compress",
    "num_lstm_layers": "lstm",
    "norm_type": "norm",
}


def _transposed_layers(config: Any) -> list[int]:
    """Where the transposed convolutions stand in EnCodec's decoder: convolution, LSTM, then by ratio ELU, *this*, residual layers."""
    return [3 + index * (2 + config.num_residual_layers) for index in range(len(config.upsampling_ratios))]


def _codec(package: dict[str, Any], file: Path, codebooks: int) -> tuple[Any, names.Weights]:
    """transformers' configuration and weights of the pair's codec, with as many codebooks as the language model has a channel."""
    from transformers import EncodecConfig, EncodecModel

    if name := package.get("pretrained"):
        with quiet_transformers():
            model = EncodecModel.from_pretrained(find(name), local_files_only=True)
        return model.config, dict(model.state_dict())
    settings = _settings(package, file)
    seanet, encodec, rvq = (_section(settings, section, file) for section in ("seanet", "encodec", "rvq"))
    if seanet.get("disable_norm_outer_blocks") or seanet.get("decoder", {}).get("final_activation"):
        raise CheckpointError(f"{file} is an EnCodec of a kind that transformers can't hold; run it with ENGINE_BACKEND=audiocraft")
    ratios, sample_rate, card = list(seanet["ratios"]), int(encodec["sample_rate"]), int(rvq["bins"])
    bits = codebooks * math.ceil(math.log2(card)) * math.ceil(sample_rate / math.prod(ratios)) / 1000
    config = EncodecConfig(
        sampling_rate=sample_rate,
        upsampling_ratios=ratios,
        codebook_size=card,
        codebook_dim=seanet["dimension"],
        target_bandwidths=[math.nextafter(bits, math.inf)],  # transformers rounds down to whole codebooks
        normalize=bool(encodec.get("renormalize")),
        use_conv_shortcut=not seanet.get("true_skip", True),
        trim_right_ratio=float(seanet.get("decoder", {}).get("trim_right_ratio", 1.0)),
        **{here: seanet[there] for here, there in _SEANET.items() if there in seanet},
    )
    try:
        state = names.codec_from_audiocraft(package["best_state"])
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{file} can't be used here: {error.args[0]}") from error
    return config, {name: tensor for name, tensor in state.items() if _codebook_of(name) < codebooks}


def _codebook_of(name: str) -> int:
    match = re.match(r"quantizer\.layers\.(\d+)\.", name)
    return int(match[1]) if match else -1


def _text_encoder_of(folder: Path, settings: dict[str, Any]) -> str | Path:
    """The pair's own T5 where it brings one, else the hub's that it names."""
    if (folder / TEXT_ENCODER_FOLDER).is_dir():
        return folder / TEXT_ENCODER_FOLDER
    name = str(settings.get("conditioners", {}).get("description", {}).get("t5", {}).get("name", "t5-base"))
    return _STOCK_T5 if name == "t5-base" else name if "/" in name else f"google-t5/{name}"


def _text_encoder(name_or_folder: str | Path) -> tuple[Any, Any, names.Weights]:
    """Configuration, tokenizer and weights of a T5 folder, of a MusicGen folder's T5, or of a hub name."""
    from transformers import AutoTokenizer, T5EncoderModel

    folder = find(name_or_folder)
    if json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type") == "musicgen":
        donor = load(folder)
        return donor.config.text_encoder, donor.conditioner.tokenizer, dict(disassemble(donor).text_encoder)
    try:
        with quiet_transformers():
            model = T5EncoderModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{name_or_folder} holds no T5 text encoder with safetensors: give the folder of one") from error
    return model.config, tokenizer, dict(model.state_dict())


def _delays(settings: dict[str, Any], codebooks: int) -> tuple[int, ...]:
    pattern = settings.get("codebooks_pattern", {})
    if pattern.get("modeling", "delay") != "delay":
        return ()
    return tuple(int(delay) for delay in pattern.get("delay", {}).get("delays") or range(codebooks))


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise CheckpointError(f"there is no {file}; a folder with {LM_FILE} and {CODEC_FILE} is needed")
    try:
        package = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise CheckpointError(
            f"{file} is damaged, or holds more than tensors and text, which is not loaded; get it from its source"
        ) from error
    if not isinstance(package, dict):
        raise CheckpointError(f"{file} is not an audiocraft checkpoint: export it with audiocraft.utils.export")
    return package


def _write(file: Path, package: dict[str, Any]) -> None:
    state = {name: tensor.detach().float().cpu().contiguous() for name, tensor in package["best_state"].items()}
    torch.save({**package, "best_state": state}, file)


def _settings(package: dict[str, Any], file: Path) -> dict[str, Any]:
    """The package's configuration, its references to other keys (``${sample_rate}``) filled in."""
    import yaml  # type: ignore[import-untyped]

    try:
        settings = yaml.safe_load(package["xp.cfg"])
    except (KeyError, yaml.YAMLError) as error:
        raise CheckpointError(f"{file} has no readable configuration (xp.cfg): export it with audiocraft.utils.export") from error
    if not isinstance(settings, dict):
        raise CheckpointError(f"{file} has no readable configuration (xp.cfg): export it with audiocraft.utils.export")
    return _filled(settings, settings)


def _filled(value: Any, settings: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, settings) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, settings) for item in value]
    match = re.fullmatch(r"\$\{([\w.]+)\}", value) if isinstance(value, str) else None
    if match is None:
        return value
    found: Any = settings
    for key in match[1].split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return value if found is value else found


def _section(settings: dict[str, Any], name: str, file: Path) -> dict[str, Any]:
    section = settings.get(name)
    if not isinstance(section, dict):
        raise CheckpointError(f"{file} has no {name!r} in its configuration: it is not of the kind that is needed here")
    return section
