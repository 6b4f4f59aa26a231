"""Audio as a value, and how an upload becomes one: ``probe``, ``decode``, ``resample``, ``require_sound``.

    bytes ─ sniff ─▶ ffprobe ─▶ TrackFacts            what it is, how long, how loud
    bytes ─ sniff ─▶ ffmpeg (the part asked for) ─▶ Audio ─▶ resample ─▶ Audio at the model's rate and channels

Every upload that can't be used raises AudioError, whose message is a sentence for the person who sent it. Processes and their
limits are in ``sandbox``; loudness, seams, files to send and pictures in the modules of those names.
"""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.api import MAX_TRACK_BYTES, MAX_TRACK_SECONDS
from engine.music import words
from engine.music.au import AuReader
from engine.music.sandbox import (
    DECODE_OPTIONS,
    PROBE_OPTIONS,
    AudioToolsMissing,
    Limits,
    Outcome,
    private_file,
    require_tools,
    run,
)
from engine.music.sniff import what_else

__all__ = ["Audio", "AudioError", "AudioToolsMissing", "TrackFacts", "decode", "probe", "require_sound", "require_tools", "resample"]

SILENCE_DBFS = -120.0
"""What a peak of zero reads as."""
AUDIBLE_DBFS = -60.0
"""A track whose loudest sample is below this holds nothing to continue."""
MIN_TRACK_SECONDS = 0.1
MAX_DECODE_SECONDS = 600.0
"""Longest piece that one ``decode`` returns: ten minutes of 48 kHz stereo are 230 MB."""

_WHOLE_SECONDS = 600.0  # up to here ``probe`` decodes everything; past it, excerpts
_SMALL_BYTES = 1 << 22
_EXCERPTS, _EXCERPT_SECONDS = 8, 10.0
_PREROLL_SECONDS = 1.0  # MP3's bit reservoir and Opus' 80 ms need a run-up, else the first moments after a seek are wrong
_NO_INDEX = (b"\xff\xf1", b"\xff\xf9", b"\x0bw", b"#!AMR", b"G", b"\x00\x00\x01\xba", b"\x30\x26\xb2\x75")
"""First bytes of ADTS AAC, AC-3, AMR, MPEG-TS, MPEG-PS and ASF, where a seek lands at a guess: they are decoded from their beginning."""
_USUAL_RATES = "8000|11025|12000|16000|22050|24000|32000|44100|48000|88200|96000"


class AudioError(ValueError):
    """An upload that can't be used. The message is for the person who sent it, and says what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class Audio:
    """Sound in memory. samples: float32 [C, N], in [−1, 1] but for a lossy file's overshoots. sample_rate: Hz."""

    samples: NDArray[np.float32]
    sample_rate: int

    def __post_init__(self) -> None:
        assert self.samples.ndim == 2, self.samples.shape
        assert self.samples.dtype == np.float32, self.samples.dtype
        assert self.sample_rate > 0

    @property
    def channels(self) -> int:
        return int(self.samples.shape[0])

    @property
    def length_samples(self) -> int:
        return int(self.samples.shape[1])

    @property
    def duration_s(self) -> float:
        return self.length_samples / self.sample_rate

    @property
    def peak_dbfs(self) -> float:
        """Loudest sample, in dB below full scale; −120 at silence."""
        return to_dbfs(float(np.max(np.abs(self.samples), initial=0.0)))


@dataclass(frozen=True, slots=True)
class TrackFacts:
    """What ``probe`` found. ``complete`` is False when the file ends before its own header says it does."""

    duration_s: float
    sample_rate: int
    channels: int
    codec: str
    container: str
    peak_dbfs: float
    title: str | None = None
    artist: str | None = None
    complete: bool = True
    is_video: bool = False


def to_dbfs(value: float) -> float:
    """Amplitude (1.0 is full scale) in dB, not below SILENCE_DBFS."""
    return max(SILENCE_DBFS, 20.0 * math.log10(value)) if value > 0 else SILENCE_DBFS


def probe(data: bytes, *, name: str = "upload") -> TrackFacts:
    """What an upload is: duration, rate, channels, codec, tags, peak. Decodes up to ten minutes, of longer tracks eight excerpts.

    A video's sound is used, its picture is not. A file that breaks off is taken when at least half of it can be played, with
    the duration that is really there and ``complete=False``.

    Raises AudioError (empty, text, playlist, picture, no sound, broken, too long, too big) and AudioToolsMissing.
    """
    label = words.label(name)
    _refuse_early(data, label)
    with private_file(data) as path, ThreadPoolExecutor(1, "engine-measure") as beside:
        # While a small file's header is read, its sound is too: starting either process takes longer than the work.
        whole = (path, label, 0.0, _WHOLE_SECONDS + 1.0)
        measuring = beside.submit(_measure, *whole) if len(data) <= _SMALL_BYTES else None
        promised = _ffprobe(path, label)
        if promised.complete and promised.duration_s > MAX_TRACK_SECONDS:
            raise _too_long(label, f"{words.length(promised.duration_s)} long")
        real_s, peak = math.inf, 0.0
        if promised.duration_s <= _WHOLE_SECONDS:
            real_s, peak = measuring.result() if measuring else _measure(*whole)
        if real_s > _WHOLE_SECONDS:
            real_s = _duration_of_packets(path, label)
            if real_s > MAX_TRACK_SECONDS:
                raise _too_long(label, f"longer than {words.length(MAX_TRACK_SECONDS)}")
            step_s = max(0.0, real_s - _EXCERPT_SECONDS) / (_EXCERPTS - 1)
            peak = max(_measure(path, label, index * step_s, _EXCERPT_SECONDS)[1] for index in range(_EXCERPTS))
    if real_s < MIN_TRACK_SECONDS:
        raise _broken(label)
    promised_s = promised.duration_s if promised.complete else real_s
    if real_s < 0.5 * promised_s:
        raise AudioError(
            f"{label} breaks off: of {words.length(promised_s)} only the first {words.length(real_s)} can be played. "
            "The upload or the file is damaged; upload it again, or export it anew."
        )
    complete = real_s >= promised_s - max(0.5, 0.01 * promised_s)
    return replace(promised, duration_s=real_s, peak_dbfs=to_dbfs(peak), complete=complete)


def decode(
    data: bytes,
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    max_seconds: float = MAX_DECODE_SECONDS,
    name: str = "upload",
) -> Audio:
    """The part ``[start_s, start_s + duration_s)`` of an upload; ``duration_s=None`` is to the end.

    Mono stays mono, more channels are mixed to stereo. The rate stays as it is when it is a usual one, from 8 to 96 kHz, else
    becomes the nearest of those. The first sample is the one at ``start_s``: exactly so in MP3, WAV, FLAC, OGG, Opus, AAC and AIFF.
    Near the track's end the result is shorter than asked for.

    Raises AudioError (as ``probe``; also when nothing is left at ``start_s``, or the part is longer than ``max_seconds``) and
    AudioToolsMissing.
    """
    label = words.label(name)
    _refuse_early(data, label)
    if not 0 <= start_s < math.inf or (duration_s is not None and not 0 < duration_s < math.inf):
        raise AudioError("The part of the track to use must begin at 0 s or later and be longer than 0 s.")
    if duration_s is not None and duration_s > max_seconds:
        raise AudioError(f"That is too much at once: use at most {words.length(max_seconds)} of a track.")
    reader = AuReader(keep=True)
    with private_file(data) as path:
        wanted_s = duration_s if duration_s is not None else max_seconds + 1.0
        _ffmpeg(path, label, start_s, wanted_s, reader, seek=not data.startswith(_NO_INDEX))
        if reader.length_samples == 0:
            facts = _ffprobe(path, label)  # says what is wrong, when it is the file
            if start_s > 0 and start_s >= facts.duration_s - 0.05 > 0:
                ends = words.length(facts.duration_s)
                raise AudioError(f"There is nothing at {words.length(start_s)}: {label} ends at {ends}. Choose an earlier point.")
            raise _broken(label)
    audio = Audio(reader.samples(), reader.sample_rate)
    if duration_s is None and audio.duration_s > max_seconds:
        raise AudioError(f"{label} is longer than {words.length(max_seconds)}: name the part of it to use.")
    return audio


def require_sound(audio: Audio | TrackFacts) -> None:
    """Raises AudioError when nothing in ``audio`` can be heard (peak below −60 dBFS)."""
    if audio.peak_dbfs < AUDIBLE_DBFS:
        raise AudioError("That part of the track is silent, so there is nothing to continue. Choose another moment, or another track.")


def resample(audio: Audio, sample_rate: int, channels: int) -> Audio:
    """``audio`` at another rate (torchaudio's windowed sinc) and with 1 or 2 channels; ceil(N · new / old) samples.

    Mono is copied to both sides, stereo is averaged. Raises ValueError for other channel counts: ``decode`` gives one or two.
    """
    if channels not in {1, 2} or audio.channels not in {1, 2}:
        raise ValueError(f"can turn 1 or 2 channels into 1 or 2, not {audio.channels} into {channels}")
    samples = audio.samples  # [C, N]
    if audio.channels > channels:
        samples = samples.mean(axis=0, keepdims=True, dtype=np.float32)  # [1, N]; before resampling: half the work
    if audio.sample_rate != sample_rate and audio.length_samples > 0:
        import torch
        import torchaudio

        with torch.inference_mode():
            resampled = torchaudio.functional.resample(
                torch.from_numpy(np.ascontiguousarray(samples)), audio.sample_rate, sample_rate, lowpass_filter_width=32, rolloff=0.96
            )
            samples = resampled.numpy()  # [C, ceil(N · new / old)]
    if samples.shape[0] < channels:
        samples = np.repeat(samples, channels, axis=0)  # [2, N]
    return Audio(np.ascontiguousarray(samples, dtype=np.float32), sample_rate)


# Below: ffprobe and ffmpeg, and their answers.


def _ffprobe(path: str, label: str) -> TrackFacts:
    """Header facts only: the duration as promised, ``complete`` when that is no guess from the bit rate, peak unset. Raises AudioError."""
    out = bytearray()
    entries = (
        "format=format_name,duration:format_tags:stream=codec_type,codec_name,sample_rate,channels,duration:stream_tags:stream_disposition"
    )
    arguments = ["-v", "warning", *PROBE_OPTIONS, "-show_entries", entries, "-of", "json", "-i", f"file:{path}"]
    outcome = run("ffprobe", arguments, out.extend, Limits(wall_s=20.0, cpu_s=15, output_bytes=1 << 22))
    _refuse_overrun(outcome, label)
    found: dict[str, Any] = json.loads(out.decode("utf-8", "replace") or "{}") if outcome.returncode == 0 else {}
    streams: list[dict[str, Any]] = found.get("streams", [])
    container: dict[str, Any] = found.get("format", {})
    pictures = [s for s in streams if s.get("codec_type") == "video"]
    is_video = any(not s.get("disposition", {}).get("attached_pic") for s in pictures)
    sound = next((s for s in streams if s.get("codec_type") == "audio"), None)
    if sound is None:
        if is_video:
            raise AudioError(f"{label} is a video without sound. Upload a track: MP3, WAV, FLAC, OGG, Opus, M4A or AIFF.")
        if "moov atom not found" in outcome.stderr:
            raise AudioError(
                f"{label} is incomplete: its table of contents, at the end of the file, is missing. Upload it again, or export it anew."
            )
        if streams:
            raise AudioError(f"{label} has no sound in it. Upload a track: MP3, WAV, FLAC, OGG, Opus, M4A or AIFF.")
        raise _broken(label)
    tags = {key.lower(): str(value) for source in (sound, container) for key, value in source.get("tags", {}).items()}
    sample_rate, channels = _whole(sound.get("sample_rate")), _whole(sound.get("channels"))
    if not 1000 <= sample_rate <= 768_000 or not 1 <= channels <= 64:
        raise _broken(label)
    duration_s = max(_seconds(container.get("duration")), _seconds(sound.get("duration")))
    return TrackFacts(
        duration_s=duration_s,
        sample_rate=sample_rate,
        channels=channels,
        codec=str(sound.get("codec_name", "unknown")),
        container=str(container.get("format_name", "unknown")),
        peak_dbfs=SILENCE_DBFS,
        title=words.tidy(tags.get("title")),
        artist=words.tidy(tags.get("artist")),
        complete=duration_s > 0 and "Estimating duration from bitrate" not in outcome.stderr,
        is_video=is_video,
    )


def _ffmpeg(path: str, label: str, start_s: float, duration_s: float, reader: AuReader, *, seek: bool) -> None:
    """Decodes ``[start_s, start_s + duration_s)`` to float32, mono or stereo, at a usual rate. Raises AudioError on overrun."""
    preroll_s = min(start_s, _PREROLL_SECONDS) if seek else start_s
    arguments = [
        *("-nostdin", "-v", "error", "-threads", "1", *DECODE_OPTIONS),
        *(("-ss", f"{start_s - preroll_s:.6f}") if start_s > preroll_s else ()),
        *("-i", f"file:{path}", "-map", "0:a:0", "-vn", "-sn", "-dn", "-map_metadata", "-1"),
        *(("-ss", f"{preroll_s:.6f}") if preroll_s > 0 else ()),
        *("-t", f"{duration_s:.6f}"),
        # Down-mixing in floating point is left unscaled by default: the sum of six channels would clip.
        *("-af", f"aresample=rematrix_maxval=1,aformat=sample_fmts=flt:channel_layouts=mono|stereo:sample_rates={_USUAL_RATES}"),
        *("-c:a", "pcm_f32be", "-f", "au", "pipe:1"),
    ]
    _refuse_overrun(run("ffmpeg", arguments, reader, Limits()), label)


def _measure(path: str, label: str, start_s: float, duration_s: float) -> tuple[float, float]:
    """Seconds that can be decoded from ``start_s`` on, at most ``duration_s``, and their peak amplitude."""
    reader = AuReader(keep=False)
    _ffmpeg(path, label, start_s, duration_s, reader, seek=True)
    return reader.duration_s, reader.peak


def _duration_of_packets(path: str, label: str) -> float:
    """Duration by reading every packet without decoding it: what is there, whatever the header says."""
    out = bytearray()
    arguments = [
        *("-nostdin", "-v", "error", "-nostats", "-progress", "pipe:1", *DECODE_OPTIONS),
        *("-i", f"file:{path}", "-map", "0:a:0", "-c", "copy", "-t", f"{MAX_TRACK_SECONDS + 10:.0f}", "-f", "null", "-"),
    ]
    _refuse_overrun(run("ffmpeg", arguments, out.extend, Limits(output_bytes=1 << 22)), label)
    times = [line.partition("=")[2] for line in out.decode("ascii", "replace").splitlines() if line.startswith("out_time_us=")]
    return max(0.0, _seconds(times[-1]) / 1e6) if times else 0.0


def _refuse_early(data: bytes, label: str) -> None:
    """What needs no decoder to be refused."""
    if not data:
        raise AudioError(f"{label} is empty (0 bytes). Upload it again.")
    if len(data) > MAX_TRACK_BYTES:
        raise AudioError(
            f"{label} is too big: {len(data) / 2**20:.0f} MiB, and at most {MAX_TRACK_BYTES // 2**20} MiB can be used. "
            "Export it as MP3 or Opus, or cut out the part that matters."
        )
    other = what_else(data)
    if other is not None:
        raise AudioError(f"{label} is {other}.")


def _refuse_overrun(outcome: Outcome, label: str) -> None:
    if outcome.stopped is not None:
        raise AudioError(f"{label} takes too long to read: it is damaged, or made to be. Export it anew as MP3, WAV or FLAC.")


def _too_long(label: str, is_long: str) -> AudioError:
    most = words.length(MAX_TRACK_SECONDS)
    return AudioError(f"{label} is {is_long}, and at most {most} can be used. Cut out the part that matters, and upload that.")


def _broken(label: str) -> AudioError:
    return AudioError(
        f"{label} can't be played: it is damaged, or no audio at all. Upload it again, or export it anew as MP3, WAV or FLAC."
    )


def _seconds(value: object) -> float:
    try:
        seconds = float(str(value))
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) else 0.0


def _whole(value: object) -> int:
    return int(_seconds(value))
