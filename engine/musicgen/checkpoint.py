"""Checkpoints on disk: a transformers MusicGen folder, or a name on Hugging Face's hub, to a ``MusicGen`` and back.

    folder/  config.json             sizes of the three networks
             generation_config.json  window (max_length) and sampling that the checkpoint asks for
             model.safetensors       all weights, or shards named by model.safetensors.index.json
             tokenizer.json …        T5's

Weights are read from safetensors only: no pickle is opened. Not here: names of weights (``weights``), audiocraft's files
(``audiocraft_files``), which checkpoints an engine offers (``engine.checkpoints``).
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from engine.musicgen.codec import Codec
from engine.musicgen.conditioning import Conditioner
from engine.musicgen.delay import delays_for
from engine.musicgen.generate import MusicGen
from engine.musicgen.model import LanguageModel, LanguageModelConfig
from engine.musicgen.sampling import SamplingOptions
from engine.musicgen.weights import MissingWeights, Weights, lm_from_transformers, lm_to_transformers

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_HUB_FILES = ("*.json", "model*.safetensors", "spiece.model")
_WINDOW_S = 30.0


class CheckpointError(ValueError):
    """A checkpoint can't be loaded or written. The message is for a person and says what to do."""


def load(name_or_folder: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> MusicGen:
    """Load a transformers MusicGen folder, mono or stereo, or one by its hub name ('facebook/musicgen-small').

    ``dtype`` is the language model's; text encoder and codec stay in float32, where half precision overflows (T5) or is heard.

    Raises CheckpointError: no such folder, hub not reachable, another kind of model, weights missing or unreadable.
    """
    if (kind := kind_of(name_or_folder)) != "musicgen":
        raise CheckpointError(_wrong_kind(str(name_or_folder), kind))
    folder = find(name_or_folder)
    _register_pocket_codec()
    if not any((folder / name).is_file() for name in ("tokenizer.json", "spiece.model")):  # transformers would make up an empty one
        raise CheckpointError(f"{name_or_folder} has no tokenizer.json or spiece.model: save its tokenizer there with save_pretrained")
    from transformers import AutoTokenizer, MusicgenConfig

    with quiet_transformers():
        try:
            config = MusicgenConfig.from_pretrained(folder)
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{name_or_folder}: config or tokenizer can't be read ({_first_line(error)}); save the folder again with save_pretrained"
            ) from error
    files = weight_files(folder)
    try:
        model = assemble(config, tokenizer, _read_weights(files), device=device, dtype=dtype)
    except MissingWeights as error:
        raise CheckpointError(f"{name_or_folder}: weights are {error.args[0]}; download the checkpoint again") from error
    model.name = str(name_or_folder)
    model.weight_files = files
    settings = _read_json(folder, "generation_config.json", optional=True)
    model.default_sampling = _default_sampling(settings)
    model.window_frames = _window_frames(settings, model)
    return model


def load_codec(folder: str | Path, device: str | torch.device = "cpu") -> Codec:
    """Only the codec of a transformers MusicGen folder: for who encodes audio and generates none. Raises CheckpointError."""
    folder = Path(folder)
    _register_pocket_codec()
    from transformers import MusicgenConfig

    with quiet_transformers():
        try:
            config = MusicgenConfig.from_pretrained(folder)
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(f"{folder}: config.json can't be read ({_first_line(error)})") from error
    try:
        audio_encoder = _build_encoder(config.audio_encoder, _read_weights(weight_files(folder)).audio_encoder, "audio_encoder.")
    except MissingWeights as error:
        raise CheckpointError(f"{folder}: weights are {error.args[0]}; download the checkpoint again") from error
    codec = Codec(audio_encoder, num_codebooks=config.decoder.num_codebooks, channels=config.decoder.audio_channels)
    return codec.to(device).eval().requires_grad_(False)


class Parts(NamedTuple):
    """State dicts of the networks, in transformers' names, without their prefixes."""

    decoder: Weights
    text_encoder: Weights
    audio_encoder: Weights
    projection: Weights


def assemble(config: Any, tokenizer: Any, parts: Parts, *, device: str | torch.device, dtype: torch.dtype) -> MusicGen:
    """Build the three networks of a ``MusicgenConfig`` and give them ``parts``. Raises MissingWeights, CheckpointError."""
    decoder = config.decoder
    try:
        lm_config = LanguageModelConfig(
            num_codebooks=decoder.num_codebooks,
            card=decoder.vocab_size,
            width=decoder.hidden_size,
            num_layers=decoder.num_hidden_layers,
            num_heads=decoder.num_attention_heads,
            ffn_width=decoder.ffn_dim,
            delays=delays_for(decoder.num_codebooks, decoder.audio_channels),
            activation=decoder.activation_function,
            embedding_scale=decoder.hidden_size**0.5 if decoder.scale_embedding else 1.0,
        )
    except ValueError as error:
        raise CheckpointError(f"this decoder is not one that MusicGen has: {error}") from error
    lm = build_lm(lm_config, parts.decoder, device=device, dtype=dtype)
    text_width = config.text_encoder.hidden_size
    projection: nn.Linear | None = None
    if text_width != lm_config.width:
        with torch.device("meta"):
            projection = nn.Linear(text_width, lm_config.width)
        _assign(projection, {name: tensor.float() for name, tensor in parts.projection.items()}, "enc_to_dec_proj.")
    text_encoder = _build_encoder(config.text_encoder, parts.text_encoder, "text_encoder.")
    audio_encoder = _build_encoder(config.audio_encoder, parts.audio_encoder, "audio_encoder.")
    codec = Codec(audio_encoder, num_codebooks=decoder.num_codebooks, channels=decoder.audio_channels)
    if codec.card != lm_config.card:
        raise CheckpointError(
            f"the codec has {codec.card} codes in a codebook and the decoder {lm_config.card}: they don't belong together"
        )
    conditioner = Conditioner(text_encoder, tokenizer, projection, lm_config.width)
    model = MusicGen(lm, codec.to(device).eval(), conditioner.to(device).eval(), window_frames=0, config=config)
    for module in (lm, codec, conditioner):
        module.requires_grad_(False)
    model.window_frames = _window_frames({}, model)
    return model


def build_lm(config: LanguageModelConfig, decoder: Weights, *, device: str | torch.device, dtype: torch.dtype) -> LanguageModel:
    """A ``LanguageModel`` with transformers' decoder weights: made without memory, then given its tensors."""
    weights = lm_from_transformers(decoder, num_codebooks=config.num_codebooks, num_layers=config.num_layers)
    with torch.device("meta"):
        lm = LanguageModel(config)
    _assign(lm, {name: tensor.to(device, dtype) for name, tensor in weights.items()}, "decoder.")
    return lm.eval()


def export(model: MusicGen, folder: str | Path) -> Path:
    """Write ``model`` as a transformers folder, which ``load`` and transformers' ``from_pretrained`` read. Returns the folder."""
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    parts = disassemble(model)
    weights = {f"decoder.{name}": tensor for name, tensor in parts.decoder.items()}
    weights |= {f"text_encoder.{name}": tensor for name, tensor in parts.text_encoder.items()}
    weights |= {f"audio_encoder.{name}": tensor for name, tensor in parts.audio_encoder.items()}
    weights |= {f"enc_to_dec_proj.{name}": tensor for name, tensor in parts.projection.items()}
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    model.config.architectures = ["MusicgenForConditionalGeneration"]
    with quiet_transformers():
        model.config.save_pretrained(folder)
        model.conditioner.tokenizer.save_pretrained(folder)
    card, sampling = model.card, model.default_sampling
    settings = {
        "bos_token_id": card,
        "decoder_start_token_id": card,
        "pad_token_id": card,
        "do_sample": True,
        "guidance_scale": sampling.guidance_scale,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "max_length": model.window_frames,
    }
    if sampling.top_p:
        settings["top_p"] = sampling.top_p
    (folder / "generation_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return folder


def disassemble(model: MusicGen) -> Parts:
    """The way back from ``assemble``: state dicts in transformers' names, each tensor once."""
    config = model.lm.config
    return Parts(
        decoder=lm_to_transformers(model.lm.state_dict(), num_codebooks=config.num_codebooks, num_layers=config.num_layers),
        text_encoder=_without_ties(model.conditioner.text_encoder.state_dict()),
        audio_encoder=_without_ties(model.codec.audio_encoder.state_dict()),
        projection={} if model.conditioner.projection is None else dict(model.conditioner.projection.state_dict()),
    )


def kind_of(name_or_folder: str | Path) -> str | None:
    """``model_type`` of a folder or hub name, before its weights are fetched. Raises CheckpointError."""
    kind = _read_json(find(name_or_folder, ("config.json",)), "config.json").get("model_type")
    return kind if isinstance(kind, str) else None


def find(name_or_folder: str | Path, files: Sequence[str] = _HUB_FILES) -> Path:
    """The folder itself, or the hub's ``files`` in the local cache, downloaded where needed. Raises CheckpointError."""
    folder = Path(name_or_folder).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            pair = (folder / "state_dict.bin").is_file()
            hint = (
                "it is audiocraft's form: import_audiocraft reads it"
                if pair
                else "a MusicGen folder as save_pretrained writes it is needed"
            )
            raise CheckpointError(f"{folder} has no config.json; {hint}")
        return folder
    name = str(name_or_folder)
    if not _HUB_NAME.fullmatch(name):
        raise CheckpointError(f"there is no folder {name}; give a folder that exists or a hub name such as facebook/musicgen-small")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        return Path(snapshot_download(name, allow_patterns=list(files)))
    except GatedRepoError as error:
        raise CheckpointError(f"{name} asks for consent: accept its terms on huggingface.co and log in with 'hf auth login'") from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(f"the hub has no model {name!r} (or it is private): check the spelling") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, ConnectionError) as error:
        raise CheckpointError(
            f"{name} is neither a folder here nor in the local cache, and the hub can't be reached: "
            "connect to the internet once, or give the path of a folder"
        ) from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars, and no warnings about padding codes that MusicGen has on purpose."""
    from transformers.utils import logging

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files that hold a folder's weights, in the order of their names. Raises CheckpointError."""
    if (folder / "model.safetensors").is_file():
        return (folder / "model.safetensors",)
    shards = sorted(set(_read_json(folder, "model.safetensors.index.json", optional=True).get("weight_map", {}).values()))
    if not shards:
        raise CheckpointError(
            f"{folder} has no model.safetensors; where it has pytorch_model.bin, load and save_pretrained it once with transformers"
        )
    for shard in shards:
        if Path(shard).name != shard or not (folder / shard).is_file():
            raise CheckpointError(f"{folder} lacks {shard}, which its index names; download it again")
    return tuple(folder / shard for shard in shards)


def _read_weights(files: tuple[Path, ...]) -> Parts:
    """Mapped, not read: what is not needed is never in memory."""
    from safetensors import SafetensorError, safe_open

    prefixes = {"decoder.": {}, "text_encoder.": {}, "audio_encoder.": {}, "enc_to_dec_proj.": {}}  # type: dict[str, Weights]
    for file in files:
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118  # not a dict
                    for prefix, weights in prefixes.items():
                        if name.startswith(prefix):
                            weights[name.removeprefix(prefix)] = tensors.get_tensor(name)
        except SafetensorError as error:
            raise CheckpointError(f"{file} is damaged ({_first_line(error)}); download it again") from error
    return Parts(*prefixes.values())


def _build_encoder(config: Any, weights: Weights, prefix: str) -> Any:
    """A text or audio encoder of whatever class is registered for ``config``, with ``weights``, in float32."""
    from transformers import AutoModel, AutoModelForTextEncoding

    auto = AutoModelForTextEncoding if prefix == "text_encoder." else AutoModel
    with quiet_transformers():
        with torch.device("meta"):
            kind = type(auto.from_config(config))
        model, info = kind.from_pretrained(None, config=config, state_dict=weights, output_loading_info=True, dtype=torch.float32)
    if info["mismatched_keys"] or info["error_msgs"]:
        raise CheckpointError(f"weights of {prefix.rstrip('.')} do not fit config.json; save the folder again with save_pretrained")
    if info["missing_keys"]:
        raise MissingWeights([prefix + name for name in sorted(info["missing_keys"])])
    return model.eval()


def _assign(module: nn.Module, weights: Weights, prefix: str) -> None:
    """Every parameter of ``module`` gets its tensor, of exactly its shape."""
    wanted = dict(module.named_parameters())
    if missing := sorted(wanted.keys() - weights.keys()):
        raise MissingWeights([prefix + name for name in missing])
    for name, parameter in wanted.items():
        if parameter.shape != weights[name].shape:
            raise CheckpointError(
                f"{prefix}{name} is {list(weights[name].shape)} where config.json means {list(parameter.shape)}; "
                "config.json and weights are not of the same model"
            )
    module.load_state_dict({name: weights[name] for name in wanted}, assign=True)


def _without_ties(weights: dict[str, Tensor]) -> Weights:
    """Each storage once, under its first name: safetensors refuses shared memory, and loading ties it again."""
    seen: set[int] = set()
    return {name: tensor for name, tensor in weights.items() if not (tensor.data_ptr() in seen or seen.add(tensor.data_ptr()))}  # type: ignore[func-returns-value]


def _window_frames(settings: dict[str, Any], model: MusicGen) -> int:
    """What the model was trained to hear: ``max_length`` where the checkpoint says so, else 30 s."""
    frames = settings.get("max_length") or round(_WINDOW_S * model.frame_rate)
    return max(1, min(int(frames), model.config.decoder.max_position_embeddings - max(model.lm.config.delays) - 1))


def _default_sampling(settings: dict[str, Any]) -> SamplingOptions:
    names = ("temperature", "top_k", "top_p", "guidance_scale")
    given = {name: settings[name] for name in names if isinstance(settings.get(name), int | float)}
    try:
        return SamplingOptions(**given)
    except ValueError as error:
        raise CheckpointError(f"generation_config.json: {error}") from error


def _read_json(folder: Path, name: str, *, optional: bool = False) -> dict[str, Any]:
    path = folder / name
    if optional and not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} can't be read as JSON; download it again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is not a JSON object; download it again")
    return value


def _wrong_kind(name: str, kind: str | None) -> str:
    if kind == "musicgen_melody":
        return f"{name} is a melody model, which only the reference runs: install audiocraft and set ENGINE_BACKEND=audiocraft"
    return f"{name} is a {kind or 'model of unknown kind'}, not a MusicGen: give a folder or hub name whose config.json says musicgen"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _register_pocket_codec() -> None:
    """Importing the embedded model's codec makes it known to transformers' AutoModel."""
    if importlib.util.find_spec("engine.pocket.codec") is not None:
        importlib.import_module("engine.pocket.codec")
