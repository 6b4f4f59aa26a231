from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.forecast import FIRST_GUESS, FrameMeter, done_in_s

frames = st.lists(st.integers(1, 10_000), max_size=8)


def evenly(frames_per_s: float) -> Callable[[int], float]:
    """Company saves nothing: each take pays its step in full."""
    return lambda takes: takes / frames_per_s


def test_one_after_the_other_in_one_slot() -> None:
    assert done_in_s([100], [50, 50], slots=1, step_s=evenly(50)) == [2.0, 3.0, 4.0]


def test_two_that_run_share_the_speed() -> None:
    assert done_in_s([100, 100], [], slots=2, step_s=evenly(50)) == [4.0, 4.0]
    assert done_in_s([50, 100], [], slots=2, step_s=evenly(50)) == [2.0, 3.0]  # the second is alone for its last 50


def test_in_company_a_step_is_shared() -> None:
    step_s = {1: 0.02, 2: 0.025}.__getitem__
    assert done_in_s([50, 100], [], slots=2, step_s=step_s) == pytest.approx([1.25, 2.25])


def test_nobody_waits_for_a_free_slot() -> None:
    assert done_in_s([], [100, 100], slots=2, step_s=evenly(50)) == [4.0, 4.0]


@given(frames, frames, st.integers(1, 4))
def test_all_work_is_done_when_the_last_is(running: list[int], waiting: list[int], slots: int) -> None:
    """Whatever the order, the machine is never idle: the last take is done after all frames at full speed."""
    done = done_in_s(running, waiting, slots=slots, step_s=evenly(50))
    assert len(done) == len(running) + len(waiting)
    if done:
        assert max(done) == pytest.approx(sum([*running, *waiting]) / 50)


def test_the_meter_follows_the_recent_past() -> None:
    meter = FrameMeter()
    assert meter.frames_per_s == FIRST_GUESS
    assert meter.step_s(2) == 2 / FIRST_GUESS
    for _ in range(100):
        meter.add(10, 1.0)
    assert meter.frames_per_s == pytest.approx(10)
    for _ in range(100):
        meter.add(90, 1.0)
    assert meter.frames_per_s == pytest.approx(90, rel=0.01)
    assert meter.step_s(1) == pytest.approx(1 / 90, rel=0.1)
    assert meter.step_s(2) == pytest.approx(2 / 90, rel=0.1)  # nothing is known of company


def test_the_meter_knows_what_company_saves() -> None:
    meter = FrameMeter()
    meter.add(25, 25 * 0.020, takes=1)
    meter.add(8 * 10, 10 * 0.048, takes=8)
    assert [meter.step_s(takes) for takes in (1, 4, 8)] == pytest.approx([0.020, 0.032, 0.048], rel=0.01)
    for _ in range(2000):  # something else takes half of the machine while one take runs
        meter.add(1, 0.040, takes=1)
    assert meter.step_s(1) == pytest.approx(0.040, rel=0.05)
    assert meter.step_s(8) > 0.048
    meter.add(0, 1.0, takes=1)  # a prompt was heard: its time goes to the next frame
    assert meter.frames_per_s == pytest.approx(25, rel=0.01)
    meter.add(1, 0.040, takes=1)
    assert meter.frames_per_s < 24.5
