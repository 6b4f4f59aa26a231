from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.forecast import FIRST_GUESS, FrameMeter, done_in_s

frames = st.lists(st.integers(1, 10_000), max_size=8)


def test_one_after_the_other_in_one_slot() -> None:
    assert done_in_s([100], [50, 50], slots=1, frames_per_s=50) == [2.0, 3.0, 4.0]


def test_two_that_run_share_the_speed() -> None:
    assert done_in_s([100, 100], [], slots=2, frames_per_s=50) == [4.0, 4.0]
    assert done_in_s([50, 100], [], slots=2, frames_per_s=50) == [2.0, 3.0]  # the second is alone for its last 50


def test_nobody_waits_for_a_free_slot() -> None:
    assert done_in_s([], [100, 100], slots=2, frames_per_s=50) == [4.0, 4.0]


@given(frames, frames, st.integers(1, 4))
def test_all_work_is_done_when_the_last_is(running: list[int], waiting: list[int], slots: int) -> None:
    """Whatever the order, the machine is never idle: the last take is done after all frames at full speed."""
    done = done_in_s(running, waiting, slots=slots, frames_per_s=50)
    assert len(done) == len(running) + len(waiting)
    if done:
        assert max(done) == pytest.approx(sum([*running, *waiting]) / 50)


def test_the_meter_follows_the_recent_past() -> None:
    meter = FrameMeter()
    assert meter.frames_per_s == FIRST_GUESS
    for _ in range(100):
        meter.add(10, 1.0)
    assert meter.frames_per_s == pytest.approx(10)
    for _ in range(100):
        meter.add(90, 1.0)
    assert meter.frames_per_s == pytest.approx(90, rel=0.01)
