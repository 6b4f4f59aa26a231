"""From a prepared crate's manifest to the segments that a finetune sees. What makes manifests is ``engine.crate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engine.crate import manifest
from engine.errors import EngineError
from engine.musicgen.generate import MusicGen
from engine.training.segments import Segment


@dataclass(frozen=True, slots=True, eq=False)
class FinetuneSet:
    """training, held_out: of different tracks, or the manifest is refused. plain: the caption without token, for prior rows."""

    training: tuple[Segment, ...]
    held_out: tuple[Segment, ...]
    training_tracks: int
    held_out_tracks: int
    token: str | None

    @property
    def seconds(self) -> float:
        """Of training audio, at 50 frames a second."""
        return sum(segment.codes.shape[1] for segment in self.training) / 50


def read(path: Path, model: MusicGen, *, codec: str, pad_to_window: bool = False) -> FinetuneSet:
    """A manifest, or its folder, for ``model``, whose codec's hash is ``codec`` (``engine.crate.codes.codec_hash``).

    pad_to_window: segments are filled with silence up to the window and encoded anew, as audiocraft trains on short ones.
    Raises EngineError where the manifest is of another codec, a file is missing, or a track is on both sides.
    """
    lines = manifest.read(path)
    folder = path if path.is_dir() else path.parent
    other = next((line for line in lines if line.codec != codec), None)
    if other is not None:
        raise EngineError(
            "bad_request",
            f"The dataset was prepared for {other.checkpoint!r}, whose codec is another: 'crate prepare … --checkpoint' for this base.",
        )
    both = {line.group for line in lines if line.split == "train"} & {line.group for line in lines if line.split == "held_out"}
    if both:
        raise EngineError("bad_request", f"{len(both)} tracks are held out and trained on at once: prepare the dataset again.")
    split: dict[str, list[Segment]] = {"train": [], "held_out": []}
    for line in lines:
        codes = _padded(folder / line.audio, model) if pad_to_window else _codes(folder / line.codes)
        split[line.split].append(Segment(line.id, line.track, codes, line.caption))
    tracks = {name: len({segment.track for segment in segments}) for name, segments in split.items()}
    token = next((str(line.words["token"]) for line in lines if line.words.get("token")), None)
    return FinetuneSet(tuple(split["train"]), tuple(split["held_out"]), tracks["train"], tracks["held_out"], token)


def _codes(path: Path) -> Tensor:
    try:
        return torch.from_numpy(np.load(path, allow_pickle=False).astype(np.int64))  # [K, T]
    except (OSError, ValueError) as error:
        raise EngineError("bad_request", f"{path} can't be read: prepare the dataset again.") from error


@torch.inference_mode()
def _padded(path: Path, model: MusicGen) -> Tensor:
    from engine.music.audio import AudioError, decode, resample

    try:
        audio = resample(decode(path.read_bytes()), model.sample_rate, model.channels)
    except (OSError, AudioError) as error:
        raise EngineError("bad_request", f"{path} can't be read ({error}): prepare the dataset again.") from error
    window = np.zeros((model.channels, round(model.window_frames / model.frame_rate * model.sample_rate)), np.float32)
    length = min(window.shape[1], audio.samples.shape[1])
    window[:, :length] = audio.samples[:, :length]
    return model.codec.encode(torch.from_numpy(window)).cpu().clone()  # [K, T]
