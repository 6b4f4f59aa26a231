"""``generate``, ``continue`` and ``surprise``: one take in this process, from the arguments to a file."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import secrets
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine import takes
from engine.api import MAX_TRACK_BYTES, Delivery, Done, GenerateRequest, Sampling
from engine.checkpoints import Catalogue, describe
from engine.cli.tools import require_audio_tools
from engine.errors import EngineError
from engine.models import ModelShelf, loader, no_adapters, threads_for
from engine.musical import outcome
from engine.settings import EngineSettings
from engine.words import explain

FORMATS = ("wav", "flac", "mp3", "ogg")
NO_LIMIT = 2**40


def make(arguments: argparse.Namespace) -> int:
    """Raises EngineError and SettingsError for ``main`` to tell; writes nothing then."""
    began = time.monotonic()
    out: Path | None = arguments.out
    _require_writable(out, FORMATS)
    _require_writable(arguments.picture, ("png",))
    settings = EngineSettings.read(
        checkpoint=arguments.checkpoint,
        device=arguments.device,
        precision=arguments.precision,
        threads=arguments.threads,
        backend=arguments.backend,
    )
    if arguments.track is not None or (out is not None and out.suffix.lower() in (".mp3", ".ogg")):
        require_audio_tools()
    track = None if arguments.track is None else _read(arguments.track)
    request = _request(arguments, track, (out.suffix[1:].lower() if out else "wav"))
    done = _run(request, settings, track, arguments.track, began, show=not arguments.json and sys.stderr.isatty())
    out = out or Path(f"{'surprise' if request.kind == 'unconditional' else request.kind}-{done.seed}.wav")
    write(out, done.delivery.bytes())
    if arguments.picture:
        write(arguments.picture, done.picture.bytes())
    if arguments.json:
        facts = done.model_dump(exclude={"event", "clip", "delivery", "picture"})
        files = {"out": str(out), "sha256": done.delivery.sha256, "picture": str(arguments.picture) if arguments.picture else None}
        print(json.dumps(files | facts, ensure_ascii=False))
    else:
        print(_summary(out, done))
        if arguments.picture:
            print(f"picture: {arguments.picture}")
    return 0


def _request(arguments: argparse.Namespace, track: bytes | None, extension: str) -> GenerateRequest:
    given: dict[str, Any] = {
        "take_id": f"cli-{secrets.token_hex(4)}",
        "kind": arguments.kind,
        "prompt": arguments.prompt,
        "seconds": arguments.seconds,
        "bpm": getattr(arguments, "bpm", None),
        "key": getattr(arguments, "key", None),
        "bars": getattr(arguments, "bars", None),
        "loop": getattr(arguments, "loop", False),
        "seed": arguments.seed,
        "strength": arguments.strength,
        "from_s": getattr(arguments, "from_s", None),
        "prompt_seconds": getattr(arguments, "prompt_seconds", None),
        "track": hashlib.sha256(track).hexdigest() if track is not None else None,
    }
    sampling = {
        "temperature": arguments.temperature,
        "top_k": arguments.top_k,
        "top_p": arguments.top_p,
        "guidance_scale": arguments.guidance,
    }
    try:
        given["sampling"] = Sampling(**{name: value for name, value in sampling.items() if value is not None})
    except ValidationError as error:
        raise EngineError("bad_request", explain(error, Sampling)) from None
    given["delivery"] = Delivery(format=extension, max_bytes=NO_LIMIT)  # type: ignore[arg-type]  # checked by _require_writable
    try:
        return GenerateRequest(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise EngineError("bad_request", explain(error, GenerateRequest)) from None


def _run(request: GenerateRequest, settings: EngineSettings, track: bytes | None, name: Path | None, began: float, *, show: bool) -> Done:
    import torch

    from engine.cli.progress import bar

    catalogue = Catalogue(settings.checkpoint, settings.data / "checkpoints", usual=EngineSettings.read().checkpoint)
    source = catalogue.find(None)
    if source.adapter is not None and settings.backend == "audiocraft":
        raise no_adapters(source.id)
    track_s = None if track is None else _duration(track, name)
    with bar(show) as tell:
        info = describe(source, None, default=True)
        prepared = takes.prepare(request, info, track, track_s) if info else None  # bad input is told before the weights are read
        tell(f"loading {source.id}")
        model = ModelShelf(catalogue, loader(settings), keep=1).get(source.id)
        torch.set_num_threads(threads_for(model, settings.threads))
        info = describe(source, model, default=True)
        assert info is not None
        prepared = replace(prepared, checkpoint=info) if prepared else takes.prepare(request, info, track, track_s)
        started = time.monotonic()
        decoder = takes.start(prepared, model)
        while not decoder.done:
            decoder.step()
            tell("playing", decoder.frames, decoder.of_frames)
        samples = decoder.audio().detach().float().cpu().numpy()  # [C, N]
        generate_s = time.monotonic() - started
        tell("finishing", decoder.of_frames, decoder.of_frames)
        return takes.finish(prepared, samples, model.sample_rate, model_sha256=model.sha256, generate_s=generate_s, began=began)


def _duration(track: bytes, name: Path | None) -> float:
    from engine.music.audio import AudioError, probe

    try:
        return probe(track, name=name.name if name else "upload").duration_s
    except AudioError as error:
        raise EngineError("bad_audio", str(error)) from error


def _read(path: Path) -> bytes:
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise EngineError("bad_request", f"{path} {what}: name an audio file.")
    if path.stat().st_size > MAX_TRACK_BYTES:
        raise EngineError("too_large", f"{path} is {path.stat().st_size / 2**20:.0f} MiB, and {MAX_TRACK_BYTES // 2**20} MiB is the most.")
    return path.read_bytes()


def _require_writable(path: Path | None, endings: tuple[str, ...]) -> None:
    """Found out before minutes are spent on a clip that could not be kept."""
    if path is None:
        return
    if path.suffix[1:].lower() not in endings:
        raise EngineError("bad_request", f"{path}: the file's ending must be {' or '.join('.' + ending for ending in endings)}.")
    if path.is_dir():
        raise EngineError("bad_request", f"{path} is a folder: name a file.")
    if not path.absolute().parent.is_dir():
        raise EngineError("bad_request", f"The folder {path.parent} does not exist: make it first.")
    if not os.access(path.absolute().parent, os.W_OK):
        raise EngineError("bad_request", f"The folder {path.absolute().parent} can't be written to: choose another.")


def write(path: Path, data: bytes) -> None:
    """Whole or not at all: to a temporary neighbour, then renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _summary(out: Path, done: Done) -> str:
    loudness = "" if done.loudness_lufs is None else f" · {done.loudness_lufs:.1f} LUFS".replace("-", "−")
    strength = "" if done.strength is None else f", strength {done.strength:g}"
    sides = "mono" if done.channels == 1 else "stereo"
    seam = "" if done.seam_s is None else f" · new from {done.seam_s:.1f} s on"
    music = outcome(done.asked.aim, done.track.aim, done.heard.aim, done.loop.facts if done.loop else None)
    return (
        f"{out}: {done.duration_s:.1f} s{seam} · {done.sample_rate / 1000:g} kHz {sides}{loudness}\n"
        f"{f'{music[:1].upper()}{music[1:]}{chr(10)}' if music else ''}"
        f"seed {done.seed} · {done.checkpoint} ({done.checkpoint_kind}{strength}) · {done.generate_s:.1f} s in the model, "
        f"{done.total_s:.1f} s in all"
    )
