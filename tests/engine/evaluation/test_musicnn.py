"""The default embedder: the same numbers as the package it comes from, whatever is cut or missing."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.evaluation.embeddings import EMBEDDERS, MUSICNN, EmbedderUnavailable, Musicnn, Tagger, embedder
from engine.music.audio import Audio, AudioError


def beat() -> Audio:
    """Five seconds from numbers: kick, tone, hats."""
    t = np.arange(16_000 * 5) / 16_000
    kick = 0.7 * np.sin(2 * np.pi * 55 * (t % 0.5)) * np.exp(-9 * (t % 0.5))
    tone = 0.2 * np.sin(2 * np.pi * 220 * t) * (1 + np.sin(2 * np.pi * 2 * t)) / 2
    hats = 0.1 * np.random.default_rng(0).standard_normal(t.size) * np.exp(-40 * ((t + 0.25) % 0.5))
    return Audio((kick + tone + hats).astype(np.float32)[None], 16_000)


def test_the_numbers_are_the_packages_own(musicnn: Musicnn) -> None:
    """Reference: a port of the same network that was held against the package under TensorFlow (tags within 2e-6)."""
    embeddings, tags = musicnn.listen(beat())
    assert embeddings.shape == (2, 200)
    assert embeddings.dtype == np.float32
    expected = [
        [-0.0799516, -0.0328787, 0.0319278, -0.1860576, -0.0787034, 0.5609903],
        [-0.0799516, -0.0328787, 0.0359021, -0.1860576, -0.0787034, 0.6081174],
    ]
    assert embeddings[:, :6] == pytest.approx(np.array(expected), abs=1e-4)
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx([8.511873, 8.176994], abs=1e-3)
    scores = dict(zip(tags.names, tags.scores[0].tolist(), strict=True))
    loudest = {"beat": 0.384918, "electronic": 0.311618, "techno": 0.300264, "drums": 0.201334, "synth": 0.155830, "beats": 0.133668}
    assert {name: scores[name] for name in sorted(scores, key=lambda name: -scores[name])[:6]} == pytest.approx(loudest, abs=1e-5)


def test_it_hears_techno_as_techno(musicnn: Musicnn, techno: Callable[..., Audio]) -> None:
    for manner in ("acid", "hard"):
        tags = musicnn.tags(techno(manner))
        assert tags.names[int(tags.scores.mean(0).argmax())] in {"techno", "electronic", "beat", "dance"}


def test_what_overlapping_windows_share_changes_nothing(musicnn: Musicnn) -> None:
    """Every second window of a fine hop, and every window alone, are what a coarse hop gives: the shared filters see no other window."""
    sound = Audio(np.tile(beat().samples, 3), 16_000)
    fine = musicnn.embed(sound)
    coarse = Musicnn(hop_s=2 * musicnn.hop_frames * 0.016).embed(sound)
    assert len(fine) == (15 * 16_000 // 256 + 1 - 187) // 94 + 1
    assert np.abs(fine[::2] - coarse).max() < 1e-4


def test_rate_and_channels_hardly_matter(musicnn: Musicnn, techno: Callable[..., Audio]) -> None:
    from engine.music.audio import resample

    sound = techno()
    here, there = musicnn.embed(sound), musicnn.embed(resample(sound, 44_100, 2))
    assert here.shape == there.shape
    assert np.abs(here - there).max() < 0.05 * np.abs(here).max()


def test_too_short_or_no_sound_is_an_error(musicnn: Musicnn) -> None:
    with pytest.raises(AudioError, match=r"2\.5 s, and at least 3 s"):
        musicnn.embed(Audio(np.zeros((1, 40_000), np.float32), 16_000))
    with pytest.raises(AudioError, match="no numbers"):
        musicnn.embed(Audio(np.full((1, 64_000), np.nan, np.float32), 16_000))
    assert np.isfinite(musicnn.embed(Audio(np.zeros((1, 64_000), np.float32), 16_000))).all()
    assert np.isfinite(musicnn.embed(Audio(np.ones((2, 64_000), np.float32) * 40, 16_000))).all()  # float16 would overflow here


def test_without_the_package_the_message_says_what_to_run(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    import engine.evaluation.musicnn  # noqa: F401  # what it needs is found while it can be

    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if "site-packages" not in entry])
    importlib.invalidate_caches()
    with pytest.raises(EmbedderUnavailable, match=f"pip install --no-deps {MUSICNN}"):
        embedder()


def test_other_weights_are_not_taken(musicnn: Musicnn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = importlib.util.find_spec("musicnn")
    assert found is not None
    assert found.origin is not None
    shutil.copytree(Path(found.origin).parent / "MTT_musicnn", tmp_path / "musicnn" / "MTT_musicnn")
    (tmp_path / "musicnn" / "__init__.py").touch()
    weights = tmp_path / "musicnn" / "MTT_musicnn" / ".data-00000-of-00001"
    weights.write_bytes(b"\x01" + weights.read_bytes()[1:])
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EmbedderUnavailable, match="damaged, or of another version"):
        Musicnn()


def test_names(musicnn: Musicnn) -> None:
    assert "musicnn" in EMBEDDERS
    assert isinstance(musicnn, Tagger)
    with pytest.raises(EmbedderUnavailable, match="no embedder 'openl3': choose musicnn"):
        embedder("openl3")


def test_setup_installs_what_the_message_names() -> None:
    setup = Path(__file__).parents[3] / "scripts" / "setup"
    assert f"--no-deps '{MUSICNN}'" in setup.read_text(encoding="utf-8")
