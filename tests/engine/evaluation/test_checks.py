"""Silence, clipping, loop collapse: found where they are, and not in techno, which repeats itself as it should."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from engine.evaluation.checks import check, kept, rates
from engine.music.audio import Audio


def of(samples: np.ndarray) -> Audio:
    return Audio(np.asarray(samples, dtype=np.float32)[None], 32_000)


@pytest.mark.parametrize("manner", ["acid", "hard", "melodic", "breakbeat"])
def test_techno_is_nothing_of_the_kind(manner: str, techno: Callable[..., Audio]) -> None:
    found = check(techno(manner, 3, seconds=8))
    assert not (found.silent or found.clipped or found.collapsed), found
    assert found.repetition < 0.75


@pytest.mark.parametrize("loop_s", [0.1, 0.3])
def test_a_loop_shorter_than_a_beat_is_a_collapse_even_in_the_second_half(loop_s: float, techno: Callable[..., Audio]) -> None:
    sound = techno("minimal", 1, seconds=8).samples[0]
    piece = sound[40_000 : 40_000 + round(loop_s * 32_000)]
    assert check(of(np.resize(piece, 256_000))).collapsed
    stuck = np.concatenate([sound[:96_000], np.resize(piece, 160_000)])
    assert check(of(stuck)).collapsed


def test_noise_and_tones_stand_still() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(256_000)
    tone = 0.1 * np.sin(2 * np.pi * 220 * np.arange(256_000) / 32_000)
    assert check(of(noise)).collapsed
    assert check(of(tone)).collapsed


def test_silence_and_clipping(techno: Callable[..., Audio]) -> None:
    sound = techno("dub", 0, seconds=8).samples[0]
    assert check(of(np.zeros(256_000))).silent
    assert not check(of(np.zeros(256_000))).collapsed
    fading = np.concatenate([sound[:160_000], np.zeros(64_000)])
    assert check(of(fading)).silent_s == pytest.approx(2.0, abs=0.2)
    loud = check(of(np.clip(4 * sound, -1, 1)))
    assert loud.clipped
    assert not loud.silent
    found = rates([check(of(sound)), loud])
    assert (found.clips, found.clipped, found.silent) == (2, 0.5, 0.0)
    with pytest.raises(ValueError, match="no clips"):
        rates([])


def test_a_fragment_is_measured_too() -> None:
    assert check(of(np.zeros(100))).repetition == 0.0
    assert check(of(np.zeros(0))).movement_db == 0.0


def test_tempo_kept_and_lost(techno: Callable[..., Audio]) -> None:
    before, same, other = (techno("minimal", 5, bpm=3000 / frames) for frames in (24, 24, 21))
    assert kept(before, same).tempo is True
    assert kept(before, same).key in (True, None)
    lost = kept(before, other)
    assert lost.tempo is False
    assert lost.bpm_before == pytest.approx(125, rel=0.02)
    assert kept(of(np.zeros(160_000)), before).tempo is None
    assert kept(before, of(np.zeros(160_000))).tempo is False
