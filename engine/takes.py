"""One take, step by step, without HTTP, threads or a queue: the server and the command line both go this way.

::

    GenerateRequest ─ prepare ─▶ Prepared ─ start ─▶ Decoder.step()… ─▶ samples [C, N] ─ finish ─▶ Done
                      track ▷ decode ▷ resample                         seam ▷ loudness ▷ FLAC, delivery, picture

``prepare`` and ``finish`` take long (ffmpeg, drawing): call them where that holds up nobody.
"""

from __future__ import annotations

import math
import secrets
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.api import MAX_SEED, CheckpointInfo, Done, GenerateRequest, Payload
from engine.errors import EngineError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from engine.models import Decoder, Model
    from engine.music.audio import Audio

SHORTEST_PROMPT_S = 0.5
PAST_THE_END_S = 0.05
"""How far past the end ``from`` may be and still mean the end: players round what they show."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A take that only needs a model. seed: drawn where the request left it open. prompt_audio: at the checkpoint's rate and channels."""

    request: GenerateRequest
    seed: int
    checkpoint: CheckpointInfo
    prompt_audio: Audio | None


def prepare(request: GenerateRequest, checkpoint: CheckpointInfo, track: bytes | None = None, track_s: float | None = None) -> Prepared:
    """Draw the seed, and cut out of the track (``track_s`` seconds long) what is to be continued.

    Raises EngineError 'bad_request' where there is nothing before ``from``, 'bad_audio' where that is silent or can't be read.
    """
    seed = request.seed if request.seed is not None else secrets.randbelow(MAX_SEED + 1)
    if request.kind != "continuation":
        return Prepared(request, seed, checkpoint, None)
    assert track is not None
    assert track_s is not None
    return Prepared(request, seed, checkpoint, _cut(request, checkpoint, track, track_s))


def _cut(request: GenerateRequest, checkpoint: CheckpointInfo, track: bytes, track_s: float) -> Audio:
    from engine.music.audio import AudioError, decode, require_sound, resample

    until_s = track_s if request.from_s is None else request.from_s
    if until_s > track_s + PAST_THE_END_S:
        raise EngineError(
            "bad_request",
            f"The track is {clock(track_s)} long ({track_s:.1f} s): it can't be continued from {clock(until_s)}. Choose an earlier point.",
        )
    until_s = min(until_s, track_s)
    if until_s < SHORTEST_PROMPT_S:
        what = f"the track is only {until_s:.1f} s long" if request.from_s is None else f"only {until_s:.1f} s of the track come before it"
        raise EngineError(
            "bad_request", f"There is too little to continue: {what}, and {SHORTEST_PROMPT_S} s are needed. Choose a later point."
        )
    since_s = max(0.0, until_s - request.prompt_seconds)
    try:
        heard = decode(track, start_s=since_s, duration_s=until_s - since_s)
        require_sound(heard)
    except AudioError as error:
        raise EngineError("bad_audio", str(error)) from error
    return resample(heard, checkpoint.sample_rate, checkpoint.channels)


def start(prepared: Prepared, model: Model) -> Decoder:
    """A decoder of ``request.seconds`` of new audio. Takes time only for the conditioning and the prompt's codes."""
    import torch

    request = prepared.request
    prompt_audio = None if prepared.prompt_audio is None else torch.from_numpy(prepared.prompt_audio.samples)  # [C, N]
    return model.start(
        prompt=request.prompt.strip() or None,
        frames=math.ceil(request.seconds * model.frame_rate),
        sampling=replace(model.default_sampling, **request.sampling.model_dump(exclude_none=True)),
        seed=prepared.seed,
        prompt_audio=prompt_audio,
    )


def finish(prepared: Prepared, samples: NDArray[np.float32], sample_rate: int, *, generate_s: float, began: float) -> Done:
    """What the model made (``samples`` [C, N]) as a clip to listen to, tagged and drawn; a continuation begins with the track's own.

    began: ``time.monotonic()`` when the take arrived. Raises EngineError 'bad_request' where the delivery can't be made small enough.
    """
    import numpy as np

    from engine.music.audio import Audio
    from engine.music.encode import DoesNotFit, Tags, encode
    from engine.music.loudness import measure, normalise
    from engine.music.pictures import draw
    from engine.music.seam import join

    request, checkpoint = prepared.request, prepared.checkpoint
    wanted = round(request.seconds * sample_rate)  # the last frame may reach past it
    audio = Audio(np.ascontiguousarray(samples[:, :wanted], dtype=np.float32), sample_rate)
    seam_s: float | None = None
    if prepared.prompt_audio is not None:
        audio, seam_s = join(prepared.prompt_audio, audio)
    audio = normalise(audio)
    loudness = measure(audio)
    title = (
        request.delivery.title or request.prompt.strip() or {"continuation": "Continuation", "unconditional": "Surprise"}.get(request.kind)
    )
    tags = Tags(
        title=title, prompt=request.prompt.strip() or None, seed=prepared.seed, checkpoint=checkpoint.id, licence=checkpoint.licence
    )
    try:
        delivery = encode(audio, request.delivery.format, max_bytes=request.delivery.max_bytes, tags=tags)
    except DoesNotFit as error:
        raise EngineError("bad_request", str(error)) from error
    clip = delivery if request.delivery.format == "flac" and delivery.extension == "flac" else encode(audio, "flac", tags=tags)
    picture = draw(audio, seam_s=seam_s, title=title or "")
    return Done(
        clip=Payload.of(clip.data, clip.media_type, clip.extension),
        delivery=Payload.of(delivery.data, delivery.media_type, delivery.extension),
        picture=Payload.of(picture, "image/png", "png"),
        seed=prepared.seed,
        checkpoint=checkpoint.id,
        checkpoint_kind=checkpoint.kind,
        prompt=request.prompt,
        duration_s=audio.duration_s,
        sample_rate=audio.sample_rate,
        channels=audio.channels,
        seam_s=seam_s,
        loudness_lufs=loudness.lufs,
        peak_dbfs=loudness.peak_dbfs,
        generate_s=round(generate_s, 3),
        total_s=round(time.monotonic() - began, 3),
    )


def clock(seconds: float) -> str:
    """As players show it: 83.2 is '1:23'."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}" if whole >= 3600 else f"{whole // 60}:{whole % 60:02}"
