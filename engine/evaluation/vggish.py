"""``Vggish``: the embedding that FAD was published with, so that figures can be put beside published ones.

Hershey et al. 2017 (arXiv 1609.09430); FAD: Kilgour et al. 2019. Vectors are those of frechet-audio-distance's usual setting: the last
layer before its ReLU, without PCA. Google's weights (Apache-2.0, 288 MB), as converted for PyTorch by torchvggish, are not part of this
project: they are fetched when somebody chooses ``vggish``, checked against their hash, and kept where torch keeps such files.

::

    sound [N] at 16 kHz → log-mel [T, 64] → windows of 96 frames (0.96 s) → six convolutions [512, 6, 4] → three dense layers → [128]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.embeddings import EmbedderUnavailable, mono, require_finite, too_short
from engine.music.audio import Audio

URL = "https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth"
"""The digits in its name begin its SHA-256."""
SAMPLE_RATE = 16_000

_WINDOW, _HOP, _FFT, _MELS, _FRAMES = 400, 160, 512, 64, 96
_LOW_HZ, _HIGH_HZ, _OFFSET = 125.0, 7500.0, 0.01
_WIDTHS: tuple[int | None, ...] = (64, None, 128, None, 256, 256, None, 512, 512, None)  # None: halve time and frequency
_WINDOWS_AT_ONCE = 32


class Vggish:
    """128 numbers for each 0.96 s."""

    name = "vggish"
    dimensions = 128

    def __init__(self, state: dict[str, object] | None = None) -> None:
        """``state``: the network's weights, where they are at hand; else they are fetched. Raises EmbedderUnavailable."""
        import torch
        from torch import nn

        layers: list[nn.Module] = []
        channels = 1
        for width in _WIDTHS:
            layers += [nn.MaxPool2d(2)] if width is None else [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width or channels
        dense = [nn.Linear(512 * 6 * 4, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 128)]
        self._network = nn.ModuleDict({"features": nn.Sequential(*layers), "embeddings": nn.Sequential(*dense)}).eval()
        try:
            self._network.load_state_dict(
                state or torch.hub.load_state_dict_from_url(URL, map_location="cpu", check_hash=True, weights_only=True)
            )
        except (OSError, RuntimeError) as error:
            first = str(error).strip().partition("\n")[0]
            raise EmbedderUnavailable(f"VGGish's weights can't be had from {URL}: {first}. Use musicnn, which needs no network.") from error
        self._mel = torch.from_numpy(_mel_bands())  # [257, 64]
        self._window = torch.hann_window(_WINDOW)

    def embed(self, audio: Audio) -> NDArray[np.float32]:
        """[windows, 128]. Raises AudioError where ``audio`` is shorter than a second."""
        import torch

        sound = mono(audio, SAMPLE_RATE)
        if len(sound) < (_FRAMES - 1) * _HOP + _WINDOW:
            raise too_short(audio, 1.0)
        with torch.inference_mode():
            frames = torch.from_numpy(sound).unfold(0, _WINDOW, _HOP) * self._window  # (T, 400)
            logmel = torch.log(torch.fft.rfft(frames, _FFT).abs() @ self._mel + _OFFSET)  # (T, 64)
            windows = logmel[: len(logmel) // _FRAMES * _FRAMES].view(-1, 1, _FRAMES, _MELS)
            found = []
            for first in range(0, len(windows), _WINDOWS_AT_ONCE):
                some = windows[first : first + _WINDOWS_AT_ONCE]
                maps = self._network["features"](some).permute(0, 2, 3, 1)  # (W, 6, 4, 512): TensorFlow's order
                found.append(self._network["embeddings"](maps.flatten(1)))
        return require_finite(torch.cat(found).numpy())


def _mel_bands() -> NDArray[np.float32]:
    """[257, 64]: triangles that are linear in mel (HTK's), as in Google's mel_features.py; the constant part counts in none."""

    def mel(hz: NDArray[np.float64] | float) -> NDArray[np.float64]:
        return np.asarray(1127.0 * np.log1p(np.asarray(hz) / 700.0))

    bins = mel(np.linspace(0.0, SAMPLE_RATE / 2, _FFT // 2 + 1))[:, None]
    edges = np.linspace(mel(_LOW_HZ), mel(_HIGH_HZ), _MELS + 2)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    bands = np.maximum(0.0, np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)))
    bands[0] = 0.0
    return bands.astype(np.float32)
