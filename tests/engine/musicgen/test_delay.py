from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.musicgen.delay import apply_delay, delays_for, sequence_length, undo_delay


def test_the_picture_in_the_docstring() -> None:
    codes = torch.arange(10, 30).view(1, 4, 5)
    assert apply_delay(codes, pad=0)[0].tolist() == [
        [0, 10, 11, 12, 13, 14, 0, 0, 0],
        [0, 0, 15, 16, 17, 18, 19, 0, 0],
        [0, 0, 0, 20, 21, 22, 23, 24, 0],
        [0, 0, 0, 0, 25, 26, 27, 28, 29],
    ]


def test_left_and_right_have_the_same_delay() -> None:
    assert delays_for(8, channels=2) == (0, 0, 1, 1, 2, 2, 3, 3)
    assert delays_for(4) == (0, 1, 2, 3)


@given(
    rows=st.integers(1, 3),
    frames=st.integers(0, 40),
    delays=st.lists(st.integers(0, 7), min_size=1, max_size=9),
    seed=st.integers(0, 2**16),
)
def test_undo_delay_undoes_apply_delay(rows: int, frames: int, delays: list[int], seed: int) -> None:
    codes = torch.randint(64, (rows, len(delays), frames), generator=torch.Generator().manual_seed(seed))
    sequence = apply_delay(codes, 64, delays)
    assert sequence.shape == (rows, len(delays), sequence_length(frames, delays))
    assert torch.equal(undo_delay(sequence, delays), codes)
    assert (sequence == 64).sum() == rows * len(delays) * (sequence.shape[2] - frames)  # every code once, the rest padding


@given(frames=st.integers(0, 12), cut=st.integers(0, 20))
def test_a_sequence_cut_short_gives_its_complete_frames(frames: int, cut: int) -> None:
    codes = torch.arange(4 * frames).view(1, 4, frames)
    sequence = apply_delay(codes, -1)[:, :, :cut]
    complete = undo_delay(sequence)
    assert complete.shape[2] == min(frames, max(0, cut - 4))
    assert torch.equal(complete, codes[:, :, : complete.shape[2]])
