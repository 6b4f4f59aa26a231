"""VGGish and CLAP with random weights: shapes, windows and words. What their true weights give was never run here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.evaluation.clap import Clap
from engine.evaluation.embeddings import Embedder, EmbedderUnavailable, TextEmbedder
from engine.evaluation.vggish import _mel_bands
from engine.music.audio import Audio


def test_mel_bands_are_googles() -> None:
    """A few of the bins of AudioSet's own mel_features.py: band edges at 125 Hz and 7.5 kHz, HTK's mel, peaks of at most 1."""
    bands = _mel_bands()
    assert bands.shape == (257, 64)
    assert bands[:5].sum() == 0.0  # below 125 Hz: bins 0 to 4
    assert bands[5:240].sum(axis=1).min() > 0.0
    assert bands[240:].max() == pytest.approx(0.0, abs=0.05)  # 7.5 kHz is bin 240
    assert 0.9 < bands.max() <= 1.0


@pytest.fixture(scope="module")
def tiny_clap(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A CLAP of a few thousand numbers, saved as transformers saves it."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, PreTrainedTokenizerFast

    text = {"vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    audio = {
        "patch_embeds_hidden_size": 8,
        "depths": [1, 1],
        "num_attention_heads": [1, 2],
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "enable_fusion": False,
    }
    folder = tmp_path_factory.mktemp("clap")
    ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=12)).save_pretrained(folder)
    ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad").save_pretrained(folder)
    words = Tokenizer(models.WordLevel({"<s>": 0, "<pad>": 1, "<unk>": 3, "dark": 4, "techno": 5}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>").save_pretrained(folder)
    return folder


def test_clap_puts_sound_and_words_into_one_space(tiny_clap: Path, techno: Callable[..., Audio]) -> None:
    clap: Embedder = Clap(str(tiny_clap))
    assert isinstance(clap, TextEmbedder)
    sound = techno("acid", 0, seconds=8)
    long = Audio(np.tile(sound.samples, 2), sound.sample_rate)  # 16 s: a window of 10 s, and one of 6
    vectors, text = clap.embed(long), clap.embed_text("dark techno")
    assert vectors.shape == (2, clap.dimensions) == (2, 12)
    assert text.shape == (12,)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-4)


def test_without_weights_the_message_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EmbedderUnavailable, match=r"can't be had.*or use musicnn"):
        Clap(str(tmp_path))
