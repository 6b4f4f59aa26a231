"""``python -m engine bench --overhead``: what a take of ten seconds costs besides its decoding, as a member waits for it, part by part.

::

    client ── upload ──▶ prepare ──▶ the model: text, prompt, codes, sound ──▶ finish ──▶ client
                         read, listen, resample                                listen ▷ seam, loudness ▷ cover ▷ FLAC, MP3, picture

The whole is what a client on loopback waits for, less what the engine says it spent in the model; the parts are of the same code in this
process. Not here: the model's own speed (``speed``).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.bench.startup import serving

if TYPE_CHECKING:
    from engine.api import GenerateRequest
    from engine.music.audio import Audio

SECONDS = 10.0
KINDS = ("text", "continuation")


def measure_overhead(folder: Path, *, rounds: int = 5, seconds: float = SECONDS, address: str | None = None) -> dict[str, Any]:
    """By kind of take: medians of the client's wait, of the model's part, of the rest, and of each part of the rest, in milliseconds.

    ``address``: of an engine that runs; None starts one with the checkpoint in ``folder``. Raises RuntimeError where it does not start.
    """
    from engine.music.encode import encode

    track = encode(_track(), "mp3").data
    found: dict[str, Any] = {"seconds": seconds, "rounds": rounds, "takes": {}}
    with contextlib.ExitStack() as stack:
        where = address or stack.enter_context(serving(folder)).address
        takes = asyncio.run(_over_http(where, track, rounds, seconds))
    for kind in KINDS:
        waited, model = (statistics.median(take[place] for take in takes[kind]) for place in (0, 1))
        rest = statistics.median(waited - model for waited, model in takes[kind])
        found["takes"][kind] = {
            "waited_ms": round(1000 * waited),
            "model_ms": round(1000 * model),
            "rest_ms": round(1000 * rest),
            "rest_of_take": round(rest / seconds, 4),
            "rest_of_wait": round(rest / waited, 4),
            "parts_ms": _parts(folder, kind, track, rounds, seconds),
        }
    return found


def _request(kind: str, track: bytes, number: int, seconds: float) -> GenerateRequest:
    from engine.api import GenerateRequest

    given: dict[str, Any] = {"take_id": f"bench-{kind}-{number}", "kind": kind, "prompt": "dark techno", "seconds": seconds, "seed": number}
    if kind == "continuation":
        given["track"] = hashlib.sha256(track).hexdigest()
    return GenerateRequest(**given)


async def _over_http(address: str, track: bytes, rounds: int, seconds: float) -> dict[str, list[tuple[float, float]]]:
    """(seconds that a client waits, seconds that the model took of it) of each take; the first of each kind is not counted."""
    from engine.api import Done
    from engine.client import EngineClient

    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    async with EngineClient(address) as client:
        for number in range(rounds + 1):
            for kind in KINDS:
                begun = time.perf_counter()
                if kind == "continuation":
                    await client.put_track(track)
                async for event in client.generate(_request(kind, track, number, seconds)):
                    if isinstance(event, Done) and number:
                        found[kind].append((time.perf_counter() - begun, event.generate_s))
    return found


def _parts(folder: Path, kind: str, track: bytes, rounds: int, seconds: float) -> dict[str, float]:
    """Milliseconds by part, medians, of what goes on around a model that made noise."""
    import numpy as np

    from engine import takes
    from engine.api import CheckpointInfo
    from engine.music.audio import probe
    from engine.service import line

    info = CheckpointInfo(
        id=folder.name, name=folder.name, kind="base", sample_rate=32_000, channels=1, window_s=30.0, parameters=0, licence="none"
    )
    noise = np.random.default_rng(0).standard_normal((1, round(seconds * 32_000))).astype(np.float32)
    beat = _track(seconds).samples[:1] + 0.01 * noise
    source = (track, probe(track).duration_s) if kind == "continuation" else ()  # an engine knows a track's length from its upload
    found: list[dict[str, float]] = []
    for number in range(rounds + 1):
        spent, request = takes.Spent(), _request(kind, track, number, seconds)
        with spent.on("prepare"):
            prepared = takes.prepare(request, info, *source)
        with spent.on("finish"):
            done = takes.finish(prepared, beat, 32_000, model_sha256="", generate_s=0.0, began=time.monotonic(), spent=spent)
        with spent.on("as JSON"):
            line(done)
        found.append(spent.seconds)
    return {part: round(1000 * statistics.median(round_[part] for round_ in found[1:]), 1) for part in found[-1]}


def _track(seconds: float = 30.0) -> Audio:
    """A kick, a hat and a bass at 130 BPM, stereo: what an upload is."""
    import numpy as np

    from engine.music.audio import Audio

    rate = 32_000
    t = np.arange(round(seconds * rate)) / rate
    beat = 60 / 130
    kick = np.sin(2 * np.pi * 55 * (t % beat)) * np.exp(-12 * (t % beat))
    hat = np.random.default_rng(0).standard_normal(t.size) * np.exp(-60 * ((t + beat / 2) % beat))
    bass = np.sin(2 * np.pi * 110 * t) * (((t / beat * 4) % 4) > 1)
    mono = 0.7 * np.tanh(kick + 0.3 * bass + 0.2 * hat)
    return Audio(np.stack([mono, mono]).astype(np.float32), rate)
