"""What ``GET /metrics`` says. One registry for each app, so that two engines in a process don't count together. Not here: HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.api.finetunes import TrainingProgress
from engine.batcher import Load

_SECONDS = (0.5, 1, 2, 5, 10, 20, 40, 80, 160, 320, 640)


FinetunesLoad = Callable[[], tuple[int, dict[str, TrainingProgress | None]]]
"""Finetunes that wait; those that run, by id, with their latest step."""


class _LoadCollector(Collector):
    """Looks at the batcher once for each scrape."""

    def __init__(self, load: Callable[[], Load]) -> None:
        self._load = load

    def collect(self) -> Iterator[Metric]:
        load = self._load()
        yield CounterMetricFamily("engine_frames", "Frames decoded since the start", value=load.frames)
        yield GaugeMetricFamily("engine_frames_per_second", "Frames a second over all takes, of late", value=load.frames_per_s)
        yield GaugeMetricFamily("engine_queue", "Takes that wait or are being prepared", value=load.waiting + load.held)
        yield GaugeMetricFamily("engine_running", "Takes that run", value=load.running)
        yield GaugeMetricFamily("engine_ready", "1 when takes are accepted", value=float(load.ready))


class _FinetunesCollector(Collector):
    """Looks at the finetunes once for each scrape."""

    def __init__(self, load: FinetunesLoad) -> None:
        self._load = load

    def collect(self) -> Iterator[Metric]:
        waiting, running = self._load()
        yield GaugeMetricFamily("engine_finetunes_waiting", "Finetunes that wait", value=waiting)
        yield GaugeMetricFamily("engine_finetunes_running", "Finetunes that run", value=len(running))
        step = GaugeMetricFamily("engine_finetune_step", "Step of a running finetune", labels=["finetune"])
        held_out = GaugeMetricFamily("engine_finetune_held_out_nats", "Loss of a running finetune on unseen tracks", labels=["finetune"])
        for name, progress in running.items():
            if progress is not None:
                step.add_metric([name], progress.step)
                if progress.held_out is not None:
                    held_out.add_metric([name], progress.held_out)
        yield step
        yield held_out


class Metrics:
    """Counts what ``service`` tells it."""

    def __init__(self, load: Callable[[], Load]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_LoadCollector(load))
        self._takes = Counter("engine_takes", "Takes by kind and by how they ended", ["kind", "outcome"], registry=self._registry)
        self._finetunes = Counter(
            "engine_finetunes", "Finetunes by recipe and by how they ended", ["recipe", "outcome"], registry=self._registry
        )
        self._audio = Counter("engine_audio_seconds", "Seconds of clips that were made", registry=self._registry)
        self._generate = Histogram("engine_generate_seconds", "Seconds in the model, per take", buckets=_SECONDS, registry=self._registry)
        self._total = Histogram("engine_take_seconds", "Seconds from arrival to done, per take", buckets=_SECONDS, registry=self._registry)

    def ended(self, kind: str, outcome: str) -> None:
        """``outcome`` is 'done' or an ErrorCode."""
        self._takes.labels(kind, outcome).inc()

    def watch_finetunes(self, load: FinetunesLoad) -> None:
        """Ask ``load`` at each scrape."""
        self._registry.register(_FinetunesCollector(load))

    def finetuned(self, recipe: str, outcome: str) -> None:
        """``outcome`` is the gate's word ('passed', 'failed', 'not judged'), or how it ended without one."""
        self._finetunes.labels(recipe, outcome).inc()

    def made(self, *, generate_s: float, total_s: float, duration_s: float) -> None:
        self._generate.observe(generate_s)
        self._total.observe(total_s)
        self._audio.inc(duration_s)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)
