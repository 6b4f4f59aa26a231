"""The model thread with a real tiny model: order, places, cancellation at the next frame, further checkpoints, the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from engine.api import Progress, Queued
from engine.batcher import Batcher, Job, Sound, Told
from engine.checkpoints import Catalogue
from engine.errors import EngineError
from engine.models import Decoder, Model, ModelShelf, loader

LONG = 240.0


def play(model: Model, *, seconds: float, seed: int) -> Decoder:
    from engine.musicgen.sampling import SamplingOptions

    return model.start(prompt="techno", frames=round(seconds * 50), sampling=SamplingOptions(), seed=seed)


class Listener:
    """A job, and all that it was told."""

    def __init__(self, job_id: str, checkpoint: str, seconds: float, seed: int = 0) -> None:
        self.told: list[Told] = []
        self.news = threading.Condition()
        self.job = Job(job_id, checkpoint, seconds, partial(play, seconds=seconds, seed=seed), self._tell)

    def _tell(self, told: Told) -> None:
        with self.news:
            self.told.append(told)
            self.news.notify_all()

    def wait_for(self, kind: type[Any]) -> Any:
        """The first thing of that kind."""
        with self.news:
            assert self.news.wait_for(lambda: any(isinstance(told, kind) for told in self.told), timeout=60), self.told
            return next(told for told in self.told if isinstance(told, kind))


class Counted:
    """A clock that only models move: 20 ms a step, and 4 ms for each take in it. It stands while takes begin, and while they are heard."""

    FIXED_S, EACH_S = 0.020, 0.004

    def __init__(self) -> None:
        self.s = 0.0
        self.batcher: Batcher | None = None

    def now(self) -> float:
        return self.s

    def slowing(self, load: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """What loads real models, whose steps take that long."""

        def loaded(source: Any) -> Any:
            model = load(source)
            advance = model.advance

            def counted(takes: Any) -> None:
                assert self.batcher is not None
                changed, running = self.batcher._changed, self.batcher._running
                with changed:
                    assert changed.wait_for(lambda: all(job.over or (job.decoder and not job.finishing) for job in running), timeout=60)
                advance(takes)
                self.s += self.FIXED_S + self.EACH_S * len(takes)

            model.advance = counted
            return model

        return loaded


@pytest.fixture
def make_batcher(tiny_checkpoint: Path, settings_for: Callable[..., Any]) -> Iterator[Callable[..., Batcher]]:
    made: list[Batcher] = []

    def make(slots: int = 2, room: int = 4, keep: int = 2, start: bool = True, clock: Counted | None = None) -> Batcher:
        settings = settings_for(batch=max(8, slots))
        from engine.musicgen.tiny import write_tiny_checkpoint

        for seed, name in enumerate(("one", "two"), start=1):
            write_tiny_checkpoint(settings.data / "checkpoints" / name, seed=seed)
        (settings.data / "checkpoints" / "broken").mkdir()
        (settings.data / "checkpoints" / "broken" / "config.json").write_text("{}")
        catalogue = Catalogue(settings.checkpoint, settings.data / "checkpoints")
        failures: list[EngineError] = []
        load = loader(settings)
        batcher = Batcher(
            ModelShelf(catalogue, clock.slowing(load) if clock else load, keep),
            catalogue.default_id,
            slots=slots,
            room=room,
            threads=1,
            on_failure=failures.append,
            **({"clock": clock.now} if clock else {}),
        )
        if clock:
            clock.batcher = batcher
        if start:
            batcher.start()
        made.append(batcher)
        return batcher

    yield make
    for batcher in made:
        batcher.stop()


def ready(batcher: Batcher) -> Batcher:
    """Holds a place as soon as there is one, and gives it back."""
    waiting = threading.Event()
    for _ in range(600):
        if batcher.load().ready:
            return batcher
        waiting.wait(0.05)
    raise AssertionError("not ready")


def submit(batcher: Batcher, listener: Listener) -> Listener:
    batcher.hold()
    batcher.submit(listener.job)
    return listener


def test_not_ready_until_loaded(make_batcher: Callable[..., Batcher]) -> None:
    batcher = make_batcher(start=False)
    with pytest.raises(EngineError) as caught:
        batcher.hold()
    assert (caught.value.code, caught.value.retry_after_s) == ("not_ready", 5.0)
    batcher.start()
    ready(batcher).hold()


def test_queued_then_progress_then_sound(make_batcher: Callable[..., Batcher]) -> None:
    batcher = ready(make_batcher())
    take = submit(batcher, Listener("a", "checkpoint", 2.0))
    sound: Sound = take.wait_for(Sound)
    kinds = [type(told) for told in take.told]
    assert kinds[0] is Queued
    assert kinds[-1] is Sound
    assert set(kinds[1:-1]) == {Progress}
    frames = [told.frames for told in take.told if isinstance(told, Progress)]
    assert frames == sorted(frames)
    assert frames[-1] == 100
    assert sound.samples.shape == (1, 64000)
    assert sound.samples.dtype == np.float32
    assert sound.generate_s > 0


def test_a_seed_gives_the_same_alone_and_beside_others(make_batcher: Callable[..., Batcher]) -> None:
    batcher = ready(make_batcher(slots=3))
    alone = submit(batcher, Listener("alone", "checkpoint", 1.0, seed=5)).wait_for(Sound)
    others = [submit(batcher, Listener(f"other {seed}", "checkpoint", 2.0, seed=seed)) for seed in (6, 7)]
    others[1].wait_for(Progress)
    beside = submit(batcher, Listener("beside", "checkpoint", 1.0, seed=5)).wait_for(Sound)
    assert np.array_equal(alone.samples, beside.samples)
    assert not np.array_equal(alone.samples, others[0].wait_for(Sound).samples[:, :32000])


def test_first_come_first_served_and_no_more_than_there_is_room_for(make_batcher: Callable[..., Batcher]) -> None:
    batcher = ready(make_batcher(slots=1, room=2))
    running, first, second = (submit(batcher, Listener(name, "checkpoint", LONG)) for name in ("running", "first", "second"))
    running.wait_for(Progress)
    assert first.wait_for(Queued).position in (0, 1)  # 1 if it came before the first was let in
    assert [told.position for told in second.told if isinstance(told, Queued)][-1] == 1
    assert second.told[-1].eta_s > first.told[-1].eta_s > 0  # type: ignore[union-attr]
    with pytest.raises(EngineError) as caught:
        batcher.hold()
    assert caught.value.code == "queue_full"
    assert caught.value.retry_after_s is not None
    assert caught.value.retry_after_s >= 1
    batcher.cancel(running.job)
    first.wait_for(Progress)
    assert [told.position for told in second.told if isinstance(told, Queued)][-1] == 0
    assert not any(isinstance(told, Progress) for told in second.told)


def test_what_is_forecast_is_about_what_it_takes(make_batcher: Callable[..., Batcher]) -> None:
    """Twelve takes on eight places: what the last two hear when they come, and what the clock says when they are done."""
    clock = Counted()
    batcher = ready(make_batcher(slots=8, room=8, clock=clock))
    assert clock.now() > 0  # it had made frames before it said ready
    came, ended = {}, {}
    takes = [Listener(str(number), "checkpoint", 2.0 + number / 4, seed=number) for number in range(12)]
    for take in takes:
        tell = take.job.tell

        def noted(told: Told, take: Listener = take, tell: Callable[[Told], None] = tell) -> None:
            if isinstance(told, Sound):
                ended[take.job.id] = clock.now()
            tell(told)

        take.job.tell = noted
    for take in takes:  # all in the same moment of this clock, but for the first steps of the first
        came[take.job.id] = clock.now()
        submit(batcher, take)
    for take in takes:
        take.wait_for(Sound)
    for take in takes[-2:]:
        said_s = take.wait_for(Queued).eta_s
        assert said_s == pytest.approx(ended[take.job.id] - came[take.job.id], rel=0.15)
    assert clock.now() - came["0"] < 0.5 * sum(100 + 12.5 * number for number in range(12)) * (Counted.FIXED_S + Counted.EACH_S)


def test_places_that_are_held_count(make_batcher: Callable[..., Batcher]) -> None:
    batcher = ready(make_batcher(slots=1, room=0))
    batcher.hold()
    with pytest.raises(EngineError, match="busy"):
        batcher.hold()
    batcher.let_go()
    batcher.hold()


def test_a_cancelled_take_makes_no_more_than_the_frame_it_is_at(make_batcher: Callable[..., Batcher]) -> None:
    batcher = ready(make_batcher())
    take = submit(batcher, Listener("a", "checkpoint", LONG))
    take.wait_for(Progress)
    batcher.cancel(take.job)
    assert take.job.decoder is not None
    frames = take.job.decoder.frames
    submit(batcher, Listener("b", "checkpoint", 1.0)).wait_for(Sound)  # many frames later
    assert take.job.decoder.frames <= frames + 1
    assert isinstance(take.told[-1], EngineError)
    assert take.told[-1].code == "cancelled"
    assert batcher.load().running == 0


def test_a_take_that_breaks_leaves_the_others_alone(make_batcher: Callable[..., Batcher]) -> None:
    batcher = ready(make_batcher())
    beside = submit(batcher, Listener("beside", "checkpoint", 1.0))
    broken = Listener("broken", "checkpoint", 1.0)
    broken.job.start = partial(play, seconds=1e6, seed=0)  # the model refuses this length
    submit(batcher, broken)
    error: EngineError = broken.wait_for(EngineError)
    assert error.code == "internal"
    assert "take broken" in error.message
    beside.wait_for(Sound)


def test_another_checkpoint_is_loaded_while_takes_run(make_batcher: Callable[..., Batcher]) -> None:
    batcher = ready(make_batcher())
    running = submit(batcher, Listener("running", "checkpoint", LONG))
    running.wait_for(Progress)
    other = submit(batcher, Listener("other", "one", 1.0)).wait_for(Sound)
    default = submit(batcher, Listener("default", "checkpoint", 1.0)).wait_for(Sound)
    assert not np.array_equal(other.samples, default.samples)
    assert not running.job.over


def test_one_checkpoint_in_memory_serves_several_in_turn(make_batcher: Callable[..., Batcher]) -> None:
    batcher = ready(make_batcher(keep=1))
    takes = [
        submit(batcher, Listener(f"{index} {name}", name, 1.0)) for index, name in enumerate(("checkpoint", "one", "two", "checkpoint"))
    ]
    sounds = [take.wait_for(Sound) for take in takes]
    assert np.array_equal(sounds[0].samples, sounds[3].samples)


def test_a_checkpoint_that_can_not_be_loaded_fails_its_take_only(make_batcher: Callable[..., Batcher]) -> None:
    batcher = ready(make_batcher())
    broken = submit(batcher, Listener("broken", "broken", 1.0))
    behind = submit(batcher, Listener("behind", "checkpoint", 1.0))
    assert broken.wait_for(EngineError).code == "unknown_checkpoint"
    behind.wait_for(Sound)


def test_the_end_is_told_to_all(make_batcher: Callable[..., Batcher]) -> None:
    batcher = ready(make_batcher(slots=1))
    running, waiting = submit(batcher, Listener("a", "checkpoint", LONG)), submit(batcher, Listener("b", "checkpoint", LONG))
    running.wait_for(Progress)
    batcher.stop()
    for take in (running, waiting):
        assert isinstance(take.told[-1], EngineError)
        assert take.told[-1].code == "not_ready"
    with pytest.raises(EngineError, match="being stopped"):
        batcher.hold()


def test_the_ninth_take_is_decided_in_the_second_frame_time_after_it_begins(make_batcher: Callable[..., Batcher]) -> None:
    """Counted in steps: the one that is being made when it is ready, and then its own, beside the other eight's."""
    batcher = ready(make_batcher(slots=9, room=9))
    eight = [submit(batcher, Listener(str(seed), "checkpoint", LONG, seed=seed)) for seed in range(8)]
    for listener in eight:
        listener.wait_for(Progress)
    ninth = Listener("ninth", "checkpoint", 1.0)
    heard: list[int] = []

    def begin(model: Any) -> Decoder:
        decoder: Any = play(model, seconds=1.0, seed=9)
        advance = model.advance

        def watched(takes: Any) -> None:
            advance(takes)
            heard.append(decoder.heard)

        model.advance = watched
        return cast(Decoder, decoder)

    ninth.job.start = begin
    submit(batcher, ninth).wait_for(Sound)
    assert heard[1] >= 1
    assert sum(not listener.job.over for listener in eight) == 8
