"""One take, step by step, without HTTP, threads or a queue: the server and the command line both go this way.

::

    GenerateRequest ─ prepare ─▶ Prepared ─ start ─▶ Decoder.step()… ─▶ samples [C, N] ─ finish ─▶ Done
                      track ▷ decode ▷ hear ▷ resample                  hear ▷ loop or seam ▷ loudness ▷ FLAC, delivery, pictures

``prepare`` and ``finish`` take long (ffmpeg, listening, drawing): call them where that holds up nobody.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from engine.api import MAX_SEED, CheckpointInfo, Done, GenerateRequest, Payload
from engine.api.takes import DEFAULT_SECONDS, Loop, Music, bars_length
from engine.errors import EngineError
from engine.musical import Aim, LoopFacts, loop_spare_s, worded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from engine.keys import Key
    from engine.models import Decoder, Model
    from engine.music.analysis import Grid
    from engine.music.audio import Audio
    from engine.music.encode import Tags
    from engine.music.loudness import Loudness

SHORTEST_PROMPT_S = 0.5
PAST_THE_END_S = 0.05
"""How far past the end ``from`` may be and still mean the end: players round what they show."""
HEARD_BEFORE_S = 30.0
"""How much of a track before ``from`` is listened to for its tempo and key, in seconds: what the new audio has to fit to.

Not an analysis of the whole track that may be kept from elsewhere: a seed is to replay whether or not there is one.
"""
LEAST_KEY_CONFIDENCE = 0.02
"""Least lead of a key over the next likeliest (difference of correlations) to be taken for heard."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A take that only needs a model.

    seed: drawn where the request left it open. prompt_audio: at the checkpoint's rate and channels. track: tempo and key of what is
    continued. told: what the model is told. length_s: of the new audio as wanted; seconds: as generated, a loop being cut out of more.
    strength: of the checkpoint's adapter; None where it has none.
    """

    request: GenerateRequest
    seed: int
    checkpoint: CheckpointInfo
    prompt_audio: Audio | None
    track: Aim
    told: str
    length_s: float
    seconds: float
    strength: float | None = None

    @property
    def aim(self) -> Aim:
        """What the clip is to have: what was asked for, else what the track has."""
        asked = self.request.asked
        return Aim(asked.bpm if asked.bpm is not None else self.track.bpm, asked.key or self.track.key)


def prepare(request: GenerateRequest, checkpoint: CheckpointInfo, track: bytes | None = None, track_s: float | None = None) -> Prepared:
    """Draw the seed, cut out of the track (``track_s`` seconds long) what is to be continued, and listen to it.

    Raises EngineError 'bad_request' where there is nothing before ``from``, no tempo to count bars by, or no adapter to have a strength,
    'bad_audio' where the track is silent there or can't be read.
    """
    if request.strength is not None and not checkpoint.adapter:
        raise EngineError(
            "bad_request", f"{checkpoint.id!r} has no adapter whose strength could be set: leave it out, or choose a finetune that has one."
        )
    strength = (1.0 if request.strength is None else request.strength) if checkpoint.adapter else None
    seed = request.seed if request.seed is not None else secrets.randbelow(MAX_SEED + 1)
    prompt_audio, of_track = None, Aim()
    if request.kind == "continuation":
        assert track is not None
        assert track_s is not None
        prompt_audio, of_track = _cut(request, checkpoint, track, track_s)
    asked = request.asked
    aim = Aim(asked.bpm if asked.bpm is not None else of_track.bpm, asked.key or of_track.key)
    length_s = _length(request, aim.bpm)
    seconds = length_s + loop_spare_s(length_s, aim.bpm) if request.loop else length_s
    return Prepared(request, seed, checkpoint, prompt_audio, of_track, worded(request.prompt, aim), length_s, seconds, strength)


def _length(request: GenerateRequest, bpm: float | None) -> float:
    if request.bars is None:
        return request.seconds or DEFAULT_SECONDS
    if bpm is None:
        raise EngineError("bad_request", "No steady tempo can be told in the track, so bars have no length: give bpm too.")
    try:
        return bars_length(request.bars, bpm)
    except ValueError as error:
        raise EngineError("bad_request", f"{str(error)[:1].upper()}{str(error)[1:]}.") from None


def _cut(request: GenerateRequest, checkpoint: CheckpointInfo, track: bytes, track_s: float) -> tuple[Audio, Aim]:
    """What the model hears, and the tempo and key of what lies before ``from``."""
    import numpy as np

    from engine.music.audio import Audio, AudioError, decode, require_sound, resample

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
    listen = request.asked.bpm is None or request.asked.key is None
    since_s = max(0.0, until_s - max(request.prompt_seconds, HEARD_BEFORE_S if listen else 0.0))
    try:
        before = decode(track, start_s=since_s, duration_s=until_s - since_s)
        first = max(0, before.length_samples - round(min(until_s, request.prompt_seconds) * before.sample_rate))
        heard = Audio(np.ascontiguousarray(before.samples[:, first:]), before.sample_rate)
        require_sound(heard)
    except AudioError as error:
        raise EngineError("bad_audio", str(error)) from error
    of_track = hear(before)[0] if listen else Aim()
    return resample(heard, checkpoint.sample_rate, checkpoint.channels), of_track


def hear(audio: Audio) -> tuple[Aim, Grid | None]:
    """Tempo and key by analysis, and the grid that the tempo is of."""
    from engine.music.analysis import find_grid_and_key

    grid, key = find_grid_and_key(audio)
    return Aim(grid.bpm if grid else None, _clear(key)), grid


def _clear(key: Key | None) -> Key | None:
    """A key that is hardly likelier than the next is a guess, and not said."""
    return key if key is not None and key.confidence >= LEAST_KEY_CONFIDENCE else None


def start(prepared: Prepared, model: Model) -> Decoder:
    """A decoder of ``prepared.seconds`` of new audio. Takes time only for the conditioning and the prompt's codes."""
    import torch

    request = prepared.request
    prompt_audio = None if prepared.prompt_audio is None else torch.from_numpy(prepared.prompt_audio.samples)  # [C, N]
    if prepared.strength is not None:
        from engine.musicgen.adapted import Adapted

        assert isinstance(model, Adapted)
        model = model.at(prepared.strength)
    return model.start(
        prompt=prepared.told or None,
        frames=math.ceil(prepared.seconds * model.frame_rate),
        sampling=replace(model.default_sampling, **request.sampling.model_dump(exclude_none=True)),
        seed=prepared.seed,
        prompt_audio=prompt_audio,
    )


@dataclass(slots=True)
class Spent:
    """Where a take's time goes besides the model: seconds by part. Parts that run side by side each count in full."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def on(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - began


def finish(
    prepared: Prepared,
    samples: NDArray[np.float32],
    sample_rate: int,
    *,
    model_sha256: str,
    generate_s: float,
    began: float,
    spent: Spent | None = None,
) -> Done:
    """What the model made (``samples`` [C, N]) as a clip to listen to, tagged and drawn; a continuation begins with the track's own.

    model_sha256: of the weights, or of the adapter. began: ``time.monotonic()`` when the take arrived. spent: is told what took how long.
    Raises EngineError 'bad_request' where the delivery can't be made small enough.
    """
    from engine.music.encode import DoesNotFit, Encoded, encode, encoder_ahead
    from engine.music.pictures import cover, draw

    request, checkpoint, spent = prepared.request, prepared.checkpoint, spent or Spent()
    wanted = request.delivery
    heard_s = 0.0 if prepared.prompt_audio is None else prepared.prompt_audio.duration_s
    with (
        encoder_ahead(
            wanted.format,
            sample_rate=sample_rate,
            channels=samples.shape[0],
            duration_s=prepared.length_s + heard_s,
            max_bytes=wanted.max_bytes,
        ) as ahead,
        ThreadPoolExecutor(2, "engine-beside") as beside,
    ):
        made = _clip(prepared, samples, sample_rate, beside, spent)
        audio = made.audio
        title = wanted.title or request.prompt.strip() or {"continuation": "Continuation", "unconditional": "Surprise"}.get(request.kind)

        def tag() -> Tags:
            with spent.on("cover"):
                return _tags(prepared, made, model_sha256, title, cover(audio))

        tagging = beside.submit(tag)  # before what waits for it: a pool begins in order

        def deliver() -> Encoded:
            with spent.on("delivery"):
                return encode(audio, wanted.format, max_bytes=wanted.max_bytes, tags=tagging.result, ahead=ahead)

        delivering = beside.submit(deliver)  # mostly waiting for ffmpeg
        with spent.on("picture"):
            picture = draw(audio, seam_s=made.seam_s, title=title or "")
        with spent.on("flac"):
            flac = None if wanted.format == "flac" else encode(audio, "flac", tags=tagging.result)
        try:
            delivery = delivering.result()
        except DoesNotFit as error:
            raise EngineError("bad_request", str(error)) from error
        clip = flac or (delivery if delivery.extension == "flac" else encode(audio, "flac", tags=tagging.result))
    return Done(
        clip=Payload.of(clip.data, clip.media_type, clip.extension),
        delivery=Payload.of(delivery.data, delivery.media_type, delivery.extension),
        picture=Payload.of(picture, "image/png", "png"),
        seed=prepared.seed,
        checkpoint=checkpoint.id,
        checkpoint_kind=checkpoint.kind,
        strength=prepared.strength,
        prompt=request.prompt,
        told=prepared.told or None,
        asked=Music.of(request.asked),
        track=Music.of(prepared.track),
        heard=Music.of(made.heard),
        loop=None if made.loop is None else Loop(bars=made.loop.bars, bpm=made.loop.bpm, own_bpm=made.loop.own_bpm),
        duration_s=audio.duration_s,
        sample_rate=audio.sample_rate,
        channels=audio.channels,
        seam_s=made.seam_s,
        loudness_lufs=made.loudness.lufs,
        peak_dbfs=made.loudness.peak_dbfs,
        generate_s=round(generate_s, 3),
        total_s=round(time.monotonic() - began, 3),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """The clip before it is a file. heard: in the new audio alone."""

    audio: Audio
    loudness: Loudness
    heard: Aim
    seam_s: float | None = None
    loop: LoopFacts | None = None


def _clip(prepared: Prepared, samples: NDArray[np.float32], sample_rate: int, beside: ThreadPoolExecutor, spent: Spent) -> _Made:
    """``beside`` listens to the new audio while it is joined to the track and made as loud as it should be."""
    import numpy as np

    from engine.music.audio import Audio
    from engine.music.loops import around, cut_loop
    from engine.music.loudness import measure, normalise, normalise_and_measure
    from engine.music.seam import join

    def listen(new: Audio) -> tuple[Aim, Grid | None]:
        with spent.on("listening"):
            return hear(new)

    request = prepared.request
    if request.loop:
        new = Audio(np.ascontiguousarray(samples, dtype=np.float32), sample_rate)
        heard, grid = listen(new)
        with spent.on("loop"):
            audio, facts = cut_loop(new, grid, length_s=prepared.length_s, bars=request.bars, bpm=prepared.aim.bpm)
        with spent.on("normalise"):
            audio = around(audio, normalise)
            return _Made(audio, measure(audio), heard, loop=facts)
    wanted = round(prepared.length_s * sample_rate)  # the last frame may reach past it
    new = Audio(np.ascontiguousarray(samples[:, :wanted], dtype=np.float32), sample_rate)
    listening = beside.submit(listen, new)
    whole, seam_s = new, None
    if prepared.prompt_audio is not None:
        with spent.on("seam"):
            whole, seam_s = join(prepared.prompt_audio, new)
    with spent.on("normalise"):
        audio, loudness = normalise_and_measure(whole)
    return _Made(audio, loudness, listening.result()[0], seam_s)


def _tags(prepared: Prepared, made: _Made, model_sha256: str, title: str | None, picture: bytes) -> Tags:
    """A loop is tagged with the tempo at which it repeats, any other clip with what was heard in it; never with what was only asked for."""
    from engine.music.encode import Tags

    checkpoint, loop = prepared.checkpoint, made.loop
    return Tags(
        title=title,
        prompt=prepared.request.prompt.strip() or None,
        seed=prepared.seed,
        checkpoint=checkpoint.id if prepared.strength in (None, 1.0) else f"{checkpoint.id} at strength {prepared.strength:g}",
        adapter=model_sha256[:12] if checkpoint.adapter else None,
        licence=checkpoint.licence,
        bpm=loop.bpm if loop is not None and loop.bpm is not None else made.heard.bpm,
        key=made.heard.key,
        cover=picture,
    )


def clock(seconds: float) -> str:
    """As players show it: 83.2 is '1:23'."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}" if whole >= 3600 else f"{whole // 60}:{whole % 60:02}"
