"""The musicnn network ('musicnn: pre-trained convolutional neural networks for music audio tagging', Pons and Serra, 2019) in torch.

::

    sound [N] at 16 kHz → log-mel [T, 96] → windows of 187 frames (3 s)
      timbre: two filters as high as 38 and 67 mel bands ─┐
      rhythm: three filters as long as 128, 64, 32 frames ┴→ [561, 187] → three convolutions, each added to the last → [753, 187]
      → max and mean over time [1506] → dense [200], the embedding → dense [50], the tags

The trained weights are those of the PyPI package musicnn 0.1.0 (ISC, © 2019 Music Technology Group, Universitat Pompeu Fabra); where they
come from is ``embeddings.Musicnn``'s affair. The package takes the mel bands as float16, which overflows on loud audio: here they
are float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.evaluation import tensor_bundle

SAMPLE_RATE = 16_000
HOP_SAMPLES = 256
WINDOW_FRAMES = 187
DIMENSIONS = 200
TAGS = (
    "guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast", "piano",
    "ambient", "beat", "violin", "vocal", "synth", "female", "indian", "opera", "male", "singing",
    "vocals", "no vocals", "harpsichord", "loud", "quiet", "flute", "woman", "male vocal", "no vocal", "pop",
    "soft", "sitar", "solo", "man", "classic", "choir", "voice", "new age", "dance", "male voice",
    "female vocal", "beats", "harp", "cello", "no voice", "weird", "country", "metal", "female voice", "choral",
)  # fmt: skip
"""MagnaTagATune's fifty most frequent, in the order of the network's outputs."""

_FFT, _MELS = 512, 96
_EDGE = 3  # frames on either side that a filter 7 frames long needs
_EPSILON = 1e-3  # of every batch normalisation
_WINDOWS_AT_ONCE = 16  # 80 MB of activations


@dataclass(frozen=True, slots=True, eq=False)
class _Affine:
    """A batch normalisation with its statistics fixed: x · scale + shift."""

    scale: Tensor  # [C]
    shift: Tensor  # [C]

    def __call__(self, x: Tensor) -> Tensor:
        """(W, C, …) -> the same."""
        shape = (-1,) + (1,) * (x.ndim - 2)
        return x * self.scale.view(shape) + self.shift.view(shape)


@dataclass(frozen=True, slots=True, eq=False)
class _Filter:
    """Convolution, ReLU, normalisation, maximum over frequency."""

    kernel: Tensor  # [C, 1, frames, bands]
    bias: Tensor
    norm: _Affine

    def __call__(self, x: Tensor) -> Tensor:
        """(W, 1, T, 96) -> (W, C, T − frames + 1). ReLU is monotone and the norm affine: both can wait until after the extremes."""
        low, high = torch.aminmax(F.conv2d(x, self.kernel, self.bias), dim=3)  # (W, C, T')
        extreme = torch.where(self.norm.scale[:, None] >= 0, high, low)
        return self.norm(F.relu(extreme))


@dataclass(frozen=True, slots=True, eq=False)
class _Convolution:
    """Over time, seven frames: convolution, ReLU, normalisation."""

    kernel: Tensor  # [C', C, 7]
    bias: Tensor
    norm: _Affine

    def __call__(self, x: Tensor) -> Tensor:
        """(W, C, T) -> (W, C', T)"""
        return self.norm(F.relu(F.conv1d(x, self.kernel, self.bias, padding=_EDGE)))


class Network:
    """Frozen: made once, shared by threads, leaves no gradients."""

    def __init__(self, index: Path, data: Path) -> None:
        """From the checkpoint's two files. Raises OSError, ValueError where they can't be read."""
        arrays = tensor_bundle.read(index, data)

        def tensor(name: str) -> Tensor:
            return torch.from_numpy(arrays[name].copy())

        def norm(index: int) -> _Affine:
            name = "batch_normalization" + (f"_{index}" if index else "")
            scale = tensor(f"{name}/gamma") / torch.sqrt(tensor(f"{name}/moving_variance") + _EPSILON)
            return _Affine(scale, tensor(f"{name}/beta") - tensor(f"{name}/moving_mean") * scale)

        def kernel(index: int) -> tuple[Tensor, Tensor]:
            name = "conv2d" + (f"_{index}" if index else "")
            return tensor(f"{name}/kernel").permute(3, 2, 0, 1).contiguous(), tensor(
                f"{name}/bias"
            )  # (frames, bands, in, out) in TensorFlow

        def convolution(index: int, norm_index: int) -> _Convolution:
            weight, bias = kernel(index)  # [64, 1, 7, C]: the C of the layer below stand where bands stood
            return _Convolution(weight[:, 0].transpose(1, 2).contiguous(), bias, norm(norm_index))

        self._input = norm(0)
        self._timbre = [_Filter(*kernel(index), norm(index + 1)) for index in (0, 1)]
        self._rhythm = [_Filter(*kernel(index), norm(index + 1)) for index in (2, 3, 4)]
        self._middle = [convolution(index, index + 1) for index in (5, 6, 7)]
        self._pooled_norm = norm(9)
        self._dense = tensor("dense/kernel").T.contiguous(), tensor("dense/bias")
        self._dense_norm = norm(10)
        self._tags = tensor("dense_1/kernel").T.contiguous(), tensor("dense_1/bias")
        self._window = torch.hann_window(_FFT)
        self._mel = _mel_bands()

    @torch.inference_mode()
    def __call__(self, sound: Tensor, hop_frames: int) -> tuple[Tensor, Tensor]:
        """Sound [N] at 16 kHz -> embeddings [W, 200] and tag scores [W, 50], one row each ``hop_frames``; W may be 0."""
        logmel = self.logmel(sound)  # (T, 96)
        count = max(0, (len(logmel) - WINDOW_FRAMES) // hop_frames + 1)
        at_once = _WINDOWS_AT_ONCE if hop_frames <= WINDOW_FRAMES else 1
        embeddings, scores = [sound.new_empty(0, DIMENSIONS)], [sound.new_empty(0, len(TAGS))]
        for first in range(0, count, at_once):
            some = min(at_once, count - first)
            start = first * hop_frames
            embedding = self._embed(logmel[start : start + (some - 1) * hop_frames + WINDOW_FRAMES], hop_frames)
            embeddings.append(embedding)
            scores.append(torch.sigmoid(F.linear(embedding, *self._tags)))
        return torch.cat(embeddings), torch.cat(scores)

    def logmel(self, sound: Tensor) -> Tensor:
        """(N) -> (1 + N // 256, 96): log₁₀(1 + 10,000 · power) in librosa's mel bands, zeros beyond the ends."""
        spectrum = torch.stft(sound, _FFT, HOP_SAMPLES, window=self._window, center=True, pad_mode="constant", return_complex=True)
        power = spectrum.real**2 + spectrum.imag**2  # (257, T)
        return torch.log10(10_000 * (self._mel @ power) + 1).T

    def _embed(self, logmel: Tensor, hop: int) -> Tensor:
        """A stretch (T, 96) -> (W, 200). Windows overlap: what the timbre filters make of a frame is made once for all of them."""
        x = self._input(logmel[None, None])  # (1, 1, T, 96)
        windows = x[0, 0].unfold(0, WINDOW_FRAMES, hop).transpose(1, 2)[:, None]  # (W, 1, 187, 96)
        front = [self._timbre_of(part, x, windows, hop) for part in self._timbre]
        for rhythm in self._rhythm:
            length = rhythm.kernel.shape[2]  # even: TensorFlow's 'same' puts the odd frame of padding last
            front.append(rhythm(F.pad(windows, (0, 0, (length - 1) // 2, length // 2))))
        y = torch.cat(front, 1)  # (W, 561, 187)
        parts = [y]
        for index, convolution in enumerate(self._middle):
            y = convolution(y) if index == 0 else convolution(y) + y  # (W, 64, 187)
            parts.append(y)
        features = torch.cat(parts, 1)  # (W, 753, 187)
        pooled = torch.stack([features.amax(2), features.mean(2)], 2).flatten(1)  # (W, 1506): max, mean, max, mean, …
        return self._dense_norm(F.relu(F.linear(self._pooled_norm(pooled), *self._dense)))

    @staticmethod
    def _timbre_of(part: _Filter, x: Tensor, windows: Tensor, hop: int) -> Tensor:
        """(W, C, 187). Only the three frames at each end of a window see its padding; the others are the same in every window."""
        inner = part(x)[0].unfold(1, WINDOW_FRAMES - 2 * _EDGE, hop).transpose(0, 1)  # (1, C, T − 6) -> (W, C, 181)
        head = part(F.pad(windows[:, :, : 2 * _EDGE], (0, 0, _EDGE, 0)))  # (W, C, 3)
        tail = part(F.pad(windows[:, :, -2 * _EDGE :], (0, 0, 0, _EDGE)))  # (W, C, 3)
        return torch.cat([head, inner, tail], 2)


def _mel_bands() -> Tensor:
    """[96, 257]: Slaney's triangles, each of area 1, as librosa makes them by default."""
    import torchaudio

    bands: Tensor = torchaudio.functional.melscale_fbanks(_FFT // 2 + 1, 0.0, SAMPLE_RATE / 2, _MELS, SAMPLE_RATE, "slaney", "slaney")
    return bands.T.contiguous()
