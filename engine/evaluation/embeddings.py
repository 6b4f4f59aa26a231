"""Sound as vectors: ``Embedder``, which every embedding is behind, ``Musicnn``, the default, and ``embedder(name)``, which finds one.

    audio [C, N], any rate ─▶ mono at the embedder's rate ─▶ windows ─▶ float32 [windows, dimensions]

Not here: what is made of the vectors (``distances``, ``copies``); the networks (``musicnn``, ``vggish``, ``clap``).
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from engine.music.audio import Audio, AudioError, resample

EmbedderName = Literal["musicnn", "vggish", "clap"]
EMBEDDERS: tuple[EmbedderName, ...] = get_args(EmbedderName)

MUSICNN = "musicnn==0.1.0"
"""What pip is to install, without what it names as needed: an old TensorFlow that nothing here uses."""
_MUSICNN_FILES = {
    ".index": "da2d7bb670b2b31e9bc441bb1bd75eca31b5b061f963cc1f9630c1aff3238f57",
    ".data-00000-of-00001": "041f3935e981a65cea739842d30c188d3a7d2adf4410955c8668eb3de4a5acab",
}
"""SHA-256 of MTT_musicnn as in the package: figures of other weights could not be compared."""


class EmbedderUnavailable(RuntimeError):
    """The embedder can't be used here. The message says what to install."""


@dataclass(frozen=True, slots=True, eq=False)
class Tags:
    """How much of each tag is heard in each window. scores: float32 [windows, names], each 0 to 1 by itself."""

    names: tuple[str, ...]
    scores: NDArray[np.float32]


class Embedder(Protocol):
    """One network that turns sound into vectors. Whoever measures never knows which."""

    name: str
    dimensions: int

    def embed(self, audio: Audio) -> NDArray[np.float32]:
        """[windows, dimensions], finite, at least one window. Raises AudioError where ``audio`` is too short for one."""
        ...


@runtime_checkable
class Tagger(Protocol):
    """An embedder that names what it hears as well."""

    name: str
    dimensions: int

    def listen(self, audio: Audio) -> tuple[NDArray[np.float32], Tags]:
        """What ``embed`` and ``tags`` give, at the price of one. Raises AudioError."""
        ...


@runtime_checkable
class TextEmbedder(Protocol):
    """An embedder that puts words into the same space, so that a clip can be held against what was asked for."""

    def embed_text(self, text: str) -> NDArray[np.float32]:
        """[dimensions]"""
        ...


class Musicnn:
    """200 numbers and MagnaTagATune's 50 tags for each 3 s, by a network of 0.79 M parameters that a CPU runs many times faster than sound.

    The weights come in the PyPI package musicnn (ISC). Its mel spectrogram, network and tags are reproduced to 2e-6 (tags) and 2e-5
    (embedding); tests/engine/evaluation/test_musicnn.py holds the figures.
    """

    name = "musicnn"
    dimensions = 200

    def __init__(self, hop_s: float = 1.5) -> None:
        """A window each ``hop_s`` seconds, in whole mel frames of 16 ms; 1.5 s lets windows of 3 s overlap by half.

        Raises EmbedderUnavailable where the weights are missing or not the ones that the figures are made with.
        """
        if not 0.016 <= hop_s <= 60:
            raise ValueError(f"a window each {hop_s} s makes no sense: choose 0.016 to 60")
        from engine.evaluation import musicnn

        self.hop_frames = round(hop_s * musicnn.SAMPLE_RATE / musicnn.HOP_SAMPLES)
        """Mel frames between the beginnings of windows."""
        self._network = musicnn.Network(*_musicnn_weights())

    def embed(self, audio: Audio) -> NDArray[np.float32]:
        """[windows, 200]. Raises AudioError where ``audio`` is shorter than 3 s."""
        return self.listen(audio)[0]

    def tags(self, audio: Audio) -> Tags:
        """Scores [windows, 50]. Raises AudioError where ``audio`` is shorter than 3 s."""
        return self.listen(audio)[1]

    def listen(self, audio: Audio) -> tuple[NDArray[np.float32], Tags]:
        """Both. Raises AudioError where ``audio`` is shorter than 3 s."""
        import torch

        from engine.evaluation.musicnn import HOP_SAMPLES, SAMPLE_RATE, TAGS, WINDOW_FRAMES

        sound = mono(audio, SAMPLE_RATE)
        if len(sound) < (WINDOW_FRAMES - 1) * HOP_SAMPLES:
            raise too_short(audio, 3.0)
        embeddings, scores = self._network(torch.from_numpy(sound), self.hop_frames)
        return require_finite(embeddings.numpy()), Tags(TAGS, scores.numpy())


def embedder(name: str = "musicnn") -> Embedder:
    """The embedder of that name. Only musicnn works without a network: the weights of the others are fetched when they are asked for.

    Raises EmbedderUnavailable, also for a name that there is none of.
    """
    if name == "musicnn":
        return Musicnn()
    if name == "vggish":
        from engine.evaluation.vggish import Vggish

        return Vggish()
    if name == "clap":
        from engine.evaluation.clap import Clap

        return Clap()
    raise EmbedderUnavailable(f"There is no embedder {name!r}: choose {', '.join(EMBEDDERS)}.")


def mono(audio: Audio, sample_rate: int) -> NDArray[np.float32]:
    """[N] at ``sample_rate``."""
    return np.asarray(resample(audio, sample_rate, 1).samples[0])


def too_short(audio: Audio, needed_s: float) -> AudioError:
    return AudioError(f"That is too short to be compared: {audio.duration_s:.1f} s, and at least {needed_s:g} s are needed.")


def require_finite(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Raises AudioError where sound that is no number (NaN, infinity) has made vectors that are none."""
    if not np.isfinite(embeddings).all():
        raise AudioError("That holds samples that are no numbers: export it anew.")
    return embeddings


def _musicnn_weights() -> list[Path]:
    """The checkpoint's index and data. The package is found but never imported: it would import TensorFlow."""
    command = f"{sys.executable} -m pip install --no-deps {MUSICNN}"
    found = importlib.util.find_spec("musicnn")
    if found is None or not found.submodule_search_locations:
        raise EmbedderUnavailable(f"The weights that clips are compared with are not installed. Run scripts/setup, or: {command}")
    folder = Path(next(iter(found.submodule_search_locations))) / "MTT_musicnn"
    for name, expected in _MUSICNN_FILES.items():
        path = folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            raise EmbedderUnavailable(f"{path} is damaged, or of another version. Run: {command} --force-reinstall")
    return [folder / name for name in _MUSICNN_FILES]
