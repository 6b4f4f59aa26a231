"""Near-copies: what was copied is found through the changes that each measure can bear, and what was not is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from engine.evaluation.copies import Neighbours, Ngrams, beyond_real, excerpts
from engine.evaluation.embeddings import Musicnn
from engine.music.audio import Audio

MANNERS = ("minimal", "hard", "dub")


def test_a_copy_at_another_level_and_place_is_nearest_to_its_original(musicnn: Musicnn, techno: Callable[..., Audio]) -> None:
    originals = [techno(manner, 0) for manner in MANNERS]
    neighbours = Neighbours([musicnn.embed(original) for original in originals])
    unrelated = [neighbours.nearest(musicnn.embed(techno(manner, 2)))[0] for manner in MANNERS]
    copies = [neighbours.nearest(musicnn.embed(Audio(0.6 * one.samples[:, 12_345:], one.sample_rate))) for one in originals]
    assert [track for _, track in copies] == [0, 1, 2]
    assert beyond_real([likeness for likeness, _ in copies], unrelated).beyond >= 2


def codes(frames: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 512, frames)


def test_ngrams_find_what_was_recited() -> None:
    training = [codes(500, 0), codes(400, 1)]
    ngrams = Ngrams(training)
    recited = np.concatenate([codes(60, 2), training[1][100:180], codes(60, 3)])
    assert ngrams.longest(recited) == 80
    assert ngrams.share(recited) == pytest.approx((80 - 7) / (200 - 7))
    assert ngrams.share(training[0][7:300]) == 1.0
    assert ngrams.share(codes(500, 4)) == 0.0
    assert ngrams.longest(codes(500, 4)) == 0
    assert ngrams.share(codes(3, 0)) == 0.0


def test_ngrams_do_not_reach_over_the_end_of_a_track_and_tell_order_apart() -> None:
    ngrams = Ngrams([np.arange(20), np.arange(100, 120)])
    seam = np.concatenate([np.arange(13, 20), np.arange(100, 107)])
    assert ngrams.longest(seam) == 0
    assert ngrams.share(np.arange(20)[::-1]) == 0.0


def test_a_set_is_held_against_what_real_music_reaches() -> None:
    real = np.arange(100) / 100
    found = beyond_real([0.2, 0.5, 0.97, 0.99], real)
    assert (found.clips, found.beyond) == (4, 2)
    assert found.real_share <= 0.05
    assert found.share == 0.5
    few = beyond_real([0.5, 0.7], [0.1, 0.6, 0.3])
    assert (few.threshold, few.beyond, few.real_beyond) == (0.6, 1, 0)


def test_excerpts_are_as_long_as_clips() -> None:
    windows = np.arange(20).reshape(10, 2)
    assert [one[:, 0].tolist() for one in excerpts(windows, 4)] == [[0, 2, 4, 6], [8, 10, 12, 14]]
    assert [len(one) for one in excerpts(windows[:3], 4)] == [3]


def test_nothing_to_compare_with_is_an_error() -> None:
    with pytest.raises(ValueError, match="no two different windows"):
        Neighbours([])
    with pytest.raises(ValueError, match="no two different windows"):
        Neighbours([np.ones((3, 4))])
    with pytest.raises(ValueError, match="as long as 8 frames"):
        Ngrams([np.arange(7)])
    with pytest.raises(ValueError, match="first codebook"):
        Ngrams([np.zeros((4, 100), dtype=np.int64)])
    with pytest.raises(ValueError, match="no clips"):
        beyond_real([], [0.1])
