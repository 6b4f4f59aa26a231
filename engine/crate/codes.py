"""Codes of segments, computed once: which codec (``Target``), and where its codes are kept (``cache_path``).

    codes/CODEC[:16]/ab/abcd…/CROP.npy      int16 [K, T]; by codec, track and crop

A codec is named by a hash of its weights and configuration alone, so that a finetune of a language model finds its base's codes. The hash
reads bytes of safetensors files; torch is imported only when something must be encoded.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.checkpoints import Catalogue, describe
from engine.crate.disk import write_atomically
from engine.errors import EngineError
from engine.settings import EngineSettings

if TYPE_CHECKING:
    from engine.musicgen.codec import Codec

_PREFIX = "audio_encoder."


@dataclass(frozen=True, slots=True)
class Target:
    """The checkpoint that segments are for. codec: SHA-256 of its codec. folder: where its files are. width: of its language model."""

    checkpoint: str
    folder: Path
    codec: str
    sample_rate: int
    channels: int
    hop_samples: int
    window_frames: int
    width: int

    @property
    def window_samples(self) -> int:
        return self.window_frames * self.hop_samples


def target(settings: EngineSettings) -> Target:
    """Of the engine's default checkpoint. Raises EngineError where it can't be read; a hub name is downloaded first."""
    source = Catalogue(settings.checkpoint, settings.data / "checkpoints").find(None)
    folder = source.where
    if not isinstance(folder, Path):
        from engine.musicgen.checkpoint import CheckpointError, find

        try:
            folder = find(folder)
        except CheckpointError as error:
            raise EngineError("unknown_checkpoint", str(error)) from error
    info = describe(source, None, default=True)
    try:
        if info is None:
            raise ValueError("no configuration")
        whole = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config, width = whole["audio_encoder"], int(whole["decoder"]["hidden_size"])
        ratios = config.get("upsampling_ratios")
        hop = math.prod(ratios) if ratios else info.sample_rate // int(config.get("frame_rate", 50))
        window = round(info.window_s * info.sample_rate / hop)
        return Target(source.id, folder, codec_hash(folder, config), info.sample_rate, info.channels, hop, window, width)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError("unknown_checkpoint", f"The checkpoint {source.id!r} can't be read ({error}): choose another.") from error


def codec_hash(folder: Path, config: dict[str, Any]) -> str:
    """SHA-256 over the codec's configuration and its tensors by name, type, shape and bytes. Raises OSError, ValueError, KeyError."""
    whole = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    found = 0
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > 100_000_000:
                raise ValueError(f"{file.name} is no safetensors file")
            header = json.loads(stream.read(length))
            for name in sorted(name for name in header if name.startswith(_PREFIX)):
                first, last = header[name]["data_offsets"]
                whole.update(f"{name} {header[name]['dtype']} {header[name]['shape']}\n".encode())
                stream.seek(8 + length + first)
                left = last - first
                while left > 0:
                    piece = stream.read(min(left, 1 << 20))
                    if not piece:
                        raise ValueError(f"{file.name} ends too early")
                    whole.update(piece)
                    left -= len(piece)
                found += 1
    if not found:
        raise ValueError("it holds no codec")
    return whole.hexdigest()


def cache_path(data: Path, target: Target, track: str, crop: str) -> Path:
    """Where the codes of a crop are kept, or will be. ``data`` is ENGINE_DATA."""
    return data / "codes" / target.codec[:16] / track[:2] / track / f"{crop}.npy"


def write_codes(path: Path, codes: NDArray[np.int16]) -> None:
    """int16 [K, T]."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, codes, allow_pickle=False)

    write_atomically(path, write)


def read_codes(path: Path) -> NDArray[np.int16]:
    """int16 [K, T]. Raises OSError, ValueError."""
    codes: NDArray[np.int16] = np.load(path, allow_pickle=False)
    return codes


def load_codec(target: Target, device: str) -> Codec:
    """The codec alone, without language model and text encoder. Raises EngineError."""
    from engine.musicgen.checkpoint import CheckpointError
    from engine.musicgen.checkpoint import load_codec as load
    from engine.musicgen.weights import MissingWeights

    try:
        return load(target.folder, device)
    except (CheckpointError, MissingWeights, OSError, ValueError) as error:
        raise EngineError("unknown_checkpoint", f"The codec of {target.checkpoint!r} can't be loaded: {error}") from error
