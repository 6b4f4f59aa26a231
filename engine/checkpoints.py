"""Which checkpoints this engine can serve, and what each is.

::

    ENGINE_CHECKPOINT ──▶ the default: 'pocket', a hub name, or a folder      id: 'pocket', the hub name, the folder's name
    ENGINE_DATA/checkpoints/NAME/ ──▶ further ones, each with card.json or not    id: NAME

Reads names, cards and file headers, never weights. Not here: loading (``models``). An id on the wire is never a path. No torch.
"""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from engine.api import CheckpointInfo
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.models import Model

log = logging.getLogger(__name__)

POCKET_FOLDER = Path(__file__).parent / "pocket" / "weights"
AUDIOCRAFT_FILE = "state_dict.bin"
"""A folder with this is audiocraft's own; only ``--backend audiocraft`` loads it as it is, and only as the default."""
META_LICENCE = "CC-BY-NC 4.0"


class Card(BaseModel):
    """``card.json`` beside the weights: what they are. Everything may be left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str | None = None
    kind: Literal["base", "finetuned"] = "base"
    parent: str | None = None
    token: str | None = None
    licence: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where a checkpoint's files are. ``where`` is a folder, or a hub name that transformers resolves."""

    id: str
    where: Path | str
    card: Card


class Catalogue:
    """What can be asked for. Looks at the disk each time, so that a finetune appears when its folder does."""

    def __init__(self, default: str, folder: Path) -> None:
        """``default`` is ENGINE_CHECKPOINT; ``folder`` holds one folder for each further checkpoint.

        Raises EngineError 'unknown_checkpoint' where ``default`` can't be one.
        """
        self._folder = folder
        self._default = self._resolve(default)

    @property
    def default_id(self) -> str:
        return self._default.id

    def _resolve(self, name: str) -> Source:
        if name == "pocket":
            if not _is_checkpoint(POCKET_FOLDER):
                raise EngineError(
                    "unknown_checkpoint",
                    f"The embedded model is not there ({POCKET_FOLDER} has no config.json): reinstall the package, "
                    "or set ENGINE_CHECKPOINT to facebook/musicgen-small or to a folder.",
                )
            return _pocket()
        folder = Path(name).expanduser()
        if folder.is_dir():
            if not _is_checkpoint(folder) and not (folder / AUDIOCRAFT_FILE).is_file():
                raise EngineError("unknown_checkpoint", f"{folder} is no MusicGen folder: it has no config.json.")
            return Source(folder.resolve().name, folder.resolve(), _card(folder))
        if _is_checkpoint(self._folder / name) and Path(name).name == name:
            return Source(name, self._folder / name, _card(self._folder / name))
        if name.count("/") == 1 and not name.startswith((".", "/", "~")):
            licence = META_LICENCE if name.startswith("facebook/") else None
            return Source(name, name, Card(name=name.partition("/")[2], licence=licence))
        raise EngineError(
            "unknown_checkpoint",
            f"There is no checkpoint {name!r}: use 'pocket', a hub name such as facebook/musicgen-small, or a folder that exists.",
        )

    def sources(self) -> list[Source]:
        """The default first, then the embedded one, then those in the folder by name."""
        found = {self._default.id: self._default}
        if _is_checkpoint(POCKET_FOLDER):
            found.setdefault("pocket", _pocket())
        for folder in sorted(self._folder.iterdir()) if self._folder.is_dir() else []:
            if _is_checkpoint(folder):
                found.setdefault(folder.name, Source(folder.name, folder, _card(folder)))
        return list(found.values())

    def find(self, checkpoint_id: str | None) -> Source:
        """None is the default. Raises EngineError 'unknown_checkpoint', which names what there is."""
        sources = self.sources()
        for source in sources:
            if source.id == (checkpoint_id or self.default_id):
                return source
        known = ", ".join(source.id for source in sources[:10])
        raise EngineError("unknown_checkpoint", f"There is no checkpoint {checkpoint_id!r} here: choose one of {known}.")


def describe(source: Source, model: Model | None, *, default: bool) -> CheckpointInfo | None:
    """What the wire says of a checkpoint: from the model where it is loaded, else from its files; None where neither is here yet."""
    facts = _facts_of(model) if model is not None else _facts_in(source.where)
    if facts is None:
        return None
    return CheckpointInfo(
        id=source.id,
        name=source.card.name or source.id,
        kind=source.card.kind,
        parent=source.card.parent,
        token=source.card.token,
        licence=source.card.licence or "unknown: ask whoever trained it",
        default=default,
        **facts,
    )


def _facts_of(model: Model) -> dict[str, Any]:
    return {
        "sha256": model.sha256,
        "sample_rate": model.sample_rate,
        "channels": model.channels,
        "window_s": model.window_frames / model.frame_rate,
        "parameters": model.parameters,
    }


def _facts_in(where: Path | str) -> dict[str, Any] | None:
    """From ``config.json`` and the headers of the weights. None for what was not downloaded yet, or can't be read."""
    folder = where if isinstance(where, Path) else _downloaded(where)
    if folder is None:
        return None
    try:
        config = _json(folder / "config.json")
        codec, decoder = config["audio_encoder"], config["decoder"]
        hop = math.prod(codec.get("upsampling_ratios", (8, 5, 4, 4)))
        frame_rate = codec.get("frame_rate") or math.ceil(codec["sampling_rate"] / hop)
        generation = _json(folder / "generation_config.json") if (folder / "generation_config.json").is_file() else {}
        return {
            "sample_rate": codec["sampling_rate"],
            "channels": decoder.get("audio_channels", 1),
            "window_s": generation.get("max_length", 1500) / frame_rate,
            "parameters": sum(_parameters_in(file) for file in folder.glob("*.safetensors")),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s is skipped: its configuration can't be read (%s)", folder, error)
        return None


def _parameters_in(file: Path) -> int:
    """Numbers in a safetensors file, from its header: eight bytes of length, then JSON with a shape for each tensor.

    EnCodec's codebooks are buffers, not parameters, and don't count.
    """
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > 100_000_000:
            raise ValueError(f"{file.name} is no safetensors file")
        header = json.loads(stream.read(length))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__" and ".codebook." not in name)


def _downloaded(name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json")
    return Path(found).parent if isinstance(found, str) else None


def _json(file: Path) -> dict[str, Any]:
    value = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"{file.name} holds no object")
    return value


def _pocket() -> Source:
    card = _card(POCKET_FOLDER)
    return Source("pocket", POCKET_FOLDER, card.model_copy(update={"licence": card.licence or "MIT"}))


def _is_checkpoint(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def _card(folder: Path) -> Card:
    file = folder / "card.json"
    if not file.is_file():
        return Card()
    try:
        return Card.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        log.warning("%s is ignored: %s", file, " ".join(str(error).split())[:200])
        return Card()
