"""Which checkpoints this engine can serve, and what each is.

::

    ENGINE_CHECKPOINT ──▶ the default: 'pocket', a hub name, or a folder      id: 'pocket', the hub name, the folder's name
    ENGINE_DATA/checkpoints/NAME/ ──▶ further ones, each with card.json or not    id: NAME
                       └ adapter/     learnt beside a base, which its card names: found here too, or the checkpoint can't be used

Reads names, cards and file headers, never weights. Not here: loading (``models``). An id on the wire is never a path. No torch.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from engine.api import CheckpointInfo
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.models import Model

log = logging.getLogger(__name__)

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
POCKET_FOLDER = Path(__file__).parent / "pocket" / "weights"
AUDIOCRAFT_FILE = "state_dict.bin"
"""A folder with this is audiocraft's own; only ``--backend audiocraft`` loads it as it is, and only as the default."""
META_LICENCE = "CC-BY-NC 4.0"
ADAPTER_FOLDER = "adapter"
"""In a checkpoint's folder: PEFT's two files, in the place of all other weights."""
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
NOBODY = "nobody: its card can't be read"
"""Owner of a checkpoint whose card may have said one."""
_DELETED = ".deleted-"


class Card(BaseModel):
    """``card.json`` beside the weights: what they are. Everything may be left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str | None = None
    kind: Literal["base", "finetuned"] = "base"
    parent: str | None = None
    parent_sha256: str | None = None
    token: str | None = None
    licence: str | None = None
    owner: str | None = None
    gate: Literal["passed", "failed"] | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where a checkpoint's files are. ``where`` is a folder, or a hub name that transformers resolves.

    adapter: folder with PEFT's files; then base is the checkpoint that it was learnt on, and where is the base's. problem: why it can't be
    used, for a person.
    """

    id: str
    where: Path | str
    card: Card
    adapter: Path | None = None
    base: Source | None = None
    problem: str | None = None


class Catalogue:
    """What can be asked for. Looks at the disk each time, so that a finetune appears when its folder does."""

    def __init__(self, default: str, folder: Path, *, usual: str | None = None) -> None:
        """``default`` is ENGINE_CHECKPOINT; ``folder`` holds one folder for each further checkpoint.

        ``usual``: what ENGINE_CHECKPOINT is where ``default`` is another, for an adapter may stand on it. Raises EngineError
        'unknown_checkpoint' where ``default`` can't be one.
        """
        self._folder = folder
        self._usual: Source | None = None
        if usual not in (None, default):
            with contextlib.suppress(EngineError):
                self._usual = self._resolve(str(usual))
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
        inside = self._folder / name
        if folder.is_dir() and _is_adapter(folder):
            return self._usable(self._adapter(folder.resolve(), None))
        if folder.is_dir():
            if not _is_checkpoint(folder) and not (folder / AUDIOCRAFT_FILE).is_file():
                raise EngineError("unknown_checkpoint", f"{folder} is no MusicGen folder: it has no config.json.")
            return Source(folder.resolve().name, folder.resolve(), _card(folder))
        if _is_checkpoint(inside) and Path(name).name == name:
            return Source(name, inside, _card(inside))
        if _is_adapter(inside) and Path(name).name == name:
            return self._usable(self._adapter(inside, None))
        if name.count("/") == 1 and not name.startswith((".", "/", "~")):
            return _of_hub(name)
        raise EngineError(
            "unknown_checkpoint",
            f"There is no checkpoint {name!r}: use 'pocket', a hub name such as facebook/musicgen-small, or a folder that exists.",
        )

    def sources(self) -> list[Source]:
        """The default first, then the embedded one, then those in the folder by name."""
        found = {self._default.id: self._default}
        if self._default.base is not None:
            found[self._default.base.id] = self._default.base
        if _is_checkpoint(POCKET_FOLDER):
            found.setdefault("pocket", _pocket())
        for folder in self._folders():
            if _is_checkpoint(folder):
                found.setdefault(folder.name, Source(folder.name, folder, _card(folder)))
            elif _is_adapter(folder) and folder.name not in found:
                found[folder.name] = self._adapter(folder, self._default)
        return list(found.values())

    def find(self, checkpoint_id: str | None) -> Source:
        """None is the default. Raises EngineError 'unknown_checkpoint', which names what there is, or says what the checkpoint lacks."""
        sources = self.sources()
        for source in sources:
            if source.id == (checkpoint_id or self.default_id):
                return self._usable(source)
        known = ", ".join(source.id for source in sources[:10])
        raise EngineError("unknown_checkpoint", f"There is no checkpoint {checkpoint_id!r} here: choose one of {known}.")

    def delete(self, checkpoint_id: str) -> None:
        """Delete a checkpoint of the folder. What has loaded it keeps it.

        Raises EngineError 'unknown_checkpoint' where there is none, 'bad_request' for the default, the embedded one, and one that
        adapters stand on.
        """
        source = next((source for source in self.sources() if source.id == checkpoint_id), None)
        if source is None:
            raise EngineError("unknown_checkpoint", f"There is no checkpoint {checkpoint_id!r} here.")
        if checkpoint_id == self.default_id or source == self._default.base:
            raise EngineError("bad_request", f"{checkpoint_id!r} is the engine's default: set ENGINE_CHECKPOINT to another first.")
        folder = self._folder / checkpoint_id
        if folder not in (source.where, None if source.adapter is None else source.adapter.parent):
            raise EngineError("bad_request", f"{checkpoint_id!r} can't be deleted: it comes with the engine.")
        if on_it := [other.id for other in self.sources() if other.base is not None and other.base.id == checkpoint_id]:
            raise EngineError("bad_request", f"{checkpoint_id!r} is the base of {', '.join(on_it[:5])}: delete that first.")
        try:
            if folder.is_symlink():
                folder.unlink()
            else:
                folder.rename(self._folder / f"{_DELETED}{secrets.token_hex(8)}")  # gone at once, whatever comes between
        except OSError as error:
            raise EngineError("internal", f"{checkpoint_id!r} can't be deleted: {error.strerror}. Look at its folder.") from error
        for remains in self._folder.glob(f"{_DELETED}*"):
            shutil.rmtree(remains, ignore_errors=True)

    def _folders(self) -> Iterator[Path]:
        for folder in sorted(self._folder.iterdir()) if self._folder.is_dir() else []:
            if not folder.name.startswith("."):  # being written, or deleted
                yield folder

    def _adapter(self, folder: Path, default: Source | None) -> Source:
        """What is in the folder of an adapter, and the base that it stands on."""
        card = _card(folder).model_copy(update={"kind": "finetuned"})
        base = None if card.parent is None else self._base(card.parent, default)
        problem = None
        if card.parent is None:
            problem = f"{folder.name!r} is an adapter, and its card.json does not say of which checkpoint ('parent'): choose another."
        elif base is None:
            problem = f"{folder.name!r} stands on {card.parent!r}, which is not here: put that checkpoint back, or choose another."
        elif base.adapter is not None:
            problem = f"{folder.name!r} stands on {card.parent!r}, which is an adapter itself: choose another."
        return Source(folder.name, folder if base is None else base.where, card, folder / ADAPTER_FOLDER, base, problem)

    def _base(self, name: str, default: Source | None) -> Source | None:
        """A checkpoint by its id, as an adapter's card names it; hub names count if they were downloaded before."""
        for known in (default, self._usual):
            if known is not None and known.id == name:
                return known
        if name == "pocket":
            return _pocket() if _is_checkpoint(POCKET_FOLDER) else None
        inside = self._folder / name
        if Path(name).name == name and not name.startswith("."):
            if _is_checkpoint(inside) or _is_adapter(inside):
                return Source(name, inside, _card(inside), inside / ADAPTER_FOLDER if not _is_checkpoint(inside) else None)
            return None
        if _HUB_NAME.fullmatch(name) and _downloaded(name) is not None:
            return _of_hub(name)
        return None

    @staticmethod
    def _usable(source: Source) -> Source:
        if source.problem is not None:
            raise EngineError("unknown_checkpoint", source.problem)
        return source


def describe(source: Source, model: Model | None, *, default: bool) -> CheckpointInfo | None:
    """What the wire says of a checkpoint: from the model where it is loaded, else from its files.

    None where neither is here yet, or it can't be used.
    """
    if source.problem is not None:
        log.warning("checkpoint left out: %s", source.problem)
        return None
    facts = _facts_of(model) if model is not None else _facts_in(source)
    if facts is None:
        return None
    return CheckpointInfo(
        id=source.id,
        name=source.card.name or source.id,
        kind=source.card.kind,
        parent=source.card.parent,
        token=source.card.token,
        licence=source.card.licence or (source.base and source.base.card.licence) or "unknown: ask whoever trained it",
        default=default,
        owner=source.card.owner,
        adapter=source.adapter is not None,
        gate=source.card.gate,
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


def _facts_in(source: Source) -> dict[str, Any] | None:
    """From ``config.json`` and the headers of the weights. None for what was not downloaded yet, or can't be read."""
    folder = source.where if isinstance(source.where, Path) else _downloaded(source.where)
    if folder is None:
        return None
    try:
        config = _json(folder / "config.json")
        codec, decoder = config["audio_encoder"], config["decoder"]
        hop = math.prod(codec.get("upsampling_ratios", (8, 5, 4, 4)))
        frame_rate = codec.get("frame_rate") or math.ceil(codec["sampling_rate"] / hop)
        generation = _json(folder / "generation_config.json") if (folder / "generation_config.json").is_file() else {}
        weights = [*folder.glob("*.safetensors"), *(source.adapter.glob("*.safetensors") if source.adapter is not None else ())]
        return {
            "sample_rate": codec["sampling_rate"],
            "channels": decoder.get("audio_channels", 1),
            "window_s": generation.get("max_length", 1500) / frame_rate,
            "parameters": sum(_parameters_in(file) for file in weights),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s is skipped: its configuration can't be read (%s)", source.id, error)
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


def _of_hub(name: str) -> Source:
    return Source(name, name, Card(name=name.partition("/")[2], licence=META_LICENCE if name.startswith("facebook/") else None))


def _is_checkpoint(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def _is_adapter(folder: Path) -> bool:
    return not _is_checkpoint(folder) and all((folder / ADAPTER_FOLDER / name).is_file() for name in ADAPTER_FILES)


def _card(folder: Path) -> Card:
    file = folder / "card.json"
    if not file.is_file():
        return Card()
    given: object = None
    try:
        given = json.loads(file.read_bytes())
        return Card.model_validate(given)
    except (OSError, ValueError) as error:  # also pydantic's
        log.warning("%s is ignored: %s", file, " ".join(str(error).split())[:200])
        owner = given.get("owner") if isinstance(given, dict) else NOBODY
        return Card(owner=owner if owner is None or isinstance(owner, str) else NOBODY)
