"""``Clap``: LAION's CLAP, whose vectors sound and words share; so it can also tell how well a clip fits what was asked for.

Wu et al. 2023 (arXiv 2211.06687), the checkpoint trained on music, by transformers' own model. Its weights (Apache-2.0, 0.8 GB) are not
part of this project: they are fetched from the Hugging Face hub when somebody chooses ``clap``, or taken from a folder.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.embeddings import EmbedderUnavailable, mono, require_finite, too_short
from engine.music.audio import Audio

CHECKPOINT = "laion/larger_clap_music"
SAMPLE_RATE = 48_000
WINDOW_S, LEAST_S = 10.0, 1.0
_WINDOWS_AT_ONCE = 4


class Clap:
    """512 numbers for each 10 s, of length 1; a clip shorter than that is repeated to fill its window, as in training."""

    name = "clap"
    dimensions = 512

    def __init__(self, checkpoint: str = CHECKPOINT) -> None:
        """``checkpoint``: a name on the hub, or a folder. Raises EmbedderUnavailable where it can't be had."""
        from transformers import AutoFeatureExtractor, AutoTokenizer, ClapModel

        try:
            self._model: Any = ClapModel.from_pretrained(checkpoint).eval()
            self._features: Any = AutoFeatureExtractor.from_pretrained(checkpoint)
            self._tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint)
        except (OSError, ValueError, ImportError) as error:
            first = str(error).strip().partition("\n")[0]
            raise EmbedderUnavailable(
                f"CLAP's weights ({checkpoint}) can't be had: {first} Fetch them where there is a network (hf download {checkpoint}), "
                "or use musicnn, which needs none."
            ) from error
        self.dimensions = int(self._model.config.projection_dim)

    def embed(self, audio: Audio) -> NDArray[np.float32]:
        """[windows, 512]: one each 10 s, and one for what is left if that is 5 s or more. Raises AudioError below 1 s."""
        import torch

        sound = mono(audio, SAMPLE_RATE)
        if len(sound) < LEAST_S * SAMPLE_RATE:
            raise too_short(audio, LEAST_S)
        require_finite(sound)
        length = round(WINDOW_S * SAMPLE_RATE)
        windows = [sound[start : start + length] for start in range(0, len(sound), length)]
        windows = [window for index, window in enumerate(windows) if index == 0 or len(window) >= length // 2]
        found = []
        with torch.inference_mode():
            for first in range(0, len(windows), _WINDOWS_AT_ONCE):
                some = windows[first : first + _WINDOWS_AT_ONCE]
                inputs = self._features(some, sampling_rate=SAMPLE_RATE, return_tensors="pt")
                found.append(_vectors(self._model.get_audio_features(**inputs)))
        return require_finite(np.concatenate(found))

    def embed_text(self, text: str) -> NDArray[np.float32]:
        """[512]"""
        import torch

        with torch.inference_mode():
            vectors = _vectors(self._model.get_text_features(**self._tokenizer([text], return_tensors="pt", truncation=True)))  # (1, 512)
        return np.asarray(vectors[0])


def _vectors(output: Any) -> NDArray[np.float32]:
    """transformers 5 gives an output with the projected vectors as its pooled part; before, the vectors themselves."""
    return np.asarray(getattr(output, "pooler_output", output).float().numpy(), dtype=np.float32)
