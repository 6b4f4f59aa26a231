"""Audio as a file to send: ``encode`` to FLAC, WAV, MP3 or Ogg Opus, tagged, small enough, the same bytes each time.

FLAC and WAV are written by soundfile, MP3 by ``mp3``, Opus by pydub and ffmpeg; tags in ``tagging``. Not here: what the tags should say.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from engine.music.audio import Audio
from engine.music.mp3 import Mp3Encoder
from engine.music.sandbox import find_tool
from engine.music.tagging import AI_GENERATED, SOFTWARE, Tags, tagged

__all__ = ["AI_GENERATED", "BIT_RATES", "SOFTWARE", "DoesNotFit", "Encoded", "Format", "Tags", "encode", "encoder_ahead"]

Format = Literal["flac", "wav", "mp3", "ogg"]

BIT_RATES = (320, 256, 224, 192, 160, 128, 112, 96, 80, 64)
"""kbit/s, best first."""

_MEDIA_TYPES = {"flac": "audio/flac", "wav": "audio/wav", "mp3": "audio/mpeg", "ogg": "audio/ogg"}
_MAX_MONO_KBITS = 192  # one channel at 192 is what two have at 384
_MPEG2_MAX_KBITS = 160  # MPEG-2 layer III, for rates below 32 kHz
_MOST_FOR_COVER = 16
"""A cover that would take more than this part of a file's room is left out: sound comes first."""


class DoesNotFit(ValueError):
    """Not even the lowest bit rate makes the file small enough."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A file. kbits: bit rate, None for FLAC and WAV."""

    data: bytes
    media_type: str
    extension: str
    kbits: int | None = None


@contextlib.contextmanager
def encoder_ahead(
    format: Format, *, sample_rate: int, channels: int, duration_s: float, max_bytes: int | None
) -> Iterator[Mp3Encoder | None]:
    """What ``encode`` will need for a clip of about that length, loading already; None where it needs no such thing.

    Raises AudioToolsMissing.
    """
    kbits = next((k for k in _bit_rates(sample_rate, channels, format) if _may_fit(k, duration_s, max_bytes)), None)
    if format != "mp3" or kbits is None:
        yield None
        return
    with Mp3Encoder(sample_rate, channels, kbits) as encoder:
        yield encoder


def encode(
    audio: Audio,
    format: Format,
    *,
    max_bytes: int | None = None,
    tags: Tags | Callable[[], Tags] | None = None,
    ahead: Mp3Encoder | None = None,
) -> Encoded:
    """``audio`` as a file of at most ``max_bytes``, tags included: the tags, or what waits for them, asked once the sound is encoded.

    MP3 and Ogg take the highest bit rate that fits, from 320 kbit/s (192 for mono) down to 64. FLAC and WAV have 16 bits a sample; one
    that would be too big becomes MP3: ``extension`` and ``media_type`` say what it is. The same input gives the same bytes, with an
    encoder ``ahead`` (``encoder_ahead``) or without.

    Raises DoesNotFit, AudioToolsMissing, ValueError (no samples).
    """
    if audio.length_samples == 0:
        raise ValueError("nothing to encode: the audio has no samples")
    if format in {"flac", "wav"}:
        data = _tagged(_lossless(audio, format), format, tags, max_bytes)
        if max_bytes is None or len(data) <= max_bytes:
            return Encoded(data, _MEDIA_TYPES[format], format)
        format = "mp3"
    for kbits in _bit_rates(audio.sample_rate, audio.channels, format):
        if not _may_fit(kbits, audio.duration_s, max_bytes):
            continue
        data = _tagged(_mp3(audio, kbits, ahead) if format == "mp3" else _opus(audio, kbits), format, tags, max_bytes)
        if max_bytes is None or len(data) <= max_bytes:
            return Encoded(data, _MEDIA_TYPES[format], format, kbits)
    assert max_bytes is not None
    raise DoesNotFit(f"{audio.duration_s:.0f} s of audio don't fit into {max_bytes / 2**20:.1f} MiB. Ask for a shorter clip.")


def _tagged(data: bytes, format: Format, tags: Tags | Callable[[], Tags] | None, max_bytes: int | None) -> bytes:
    found = (tags() if callable(tags) else tags) or Tags()
    if found.cover is not None and max_bytes is not None and len(found.cover) * _MOST_FOR_COVER > max_bytes:
        found = replace(found, cover=None)
    return tagged(data, format, found)


def _bit_rates(sample_rate: int, channels: int, format: str) -> Iterator[int]:
    best = BIT_RATES[0] if channels > 1 else _MAX_MONO_KBITS
    if format == "mp3" and sample_rate < 32000:
        best = min(best, _MPEG2_MAX_KBITS)
    return (kbits for kbits in BIT_RATES if kbits <= best)


def _may_fit(kbits: int, duration_s: float, max_bytes: int | None) -> bool:
    return max_bytes is None or kbits * 1000 / 8 * duration_s <= 1.02 * max_bytes


def _pcm16(audio: Audio) -> NDArray[np.int16]:
    """[N, C] int16."""
    return np.asarray(np.clip(np.rint(audio.samples.T * 32767.0), -32768, 32767), dtype="<i2")


def _lossless(audio: Audio, format: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, _pcm16(audio), audio.sample_rate, format=format.upper(), subtype="PCM_16")
    return file.getvalue()


def _mp3(audio: Audio, kbits: int, ahead: Mp3Encoder | None) -> bytes:
    if ahead is not None and not ahead.used and ahead.made_for == (audio.sample_rate, audio.channels, kbits):
        return ahead.encode(_pcm16(audio))
    with Mp3Encoder(audio.sample_rate, audio.channels, kbits) as encoder:
        return encoder.encode(_pcm16(audio))


def _opus(audio: Audio, kbits: int) -> bytes:
    """Ogg Opus by ffmpeg, through pydub. Bit-exact flags leave dates and random stream numbers out."""
    find_tool("ffmpeg")
    from pydub import AudioSegment

    segment = AudioSegment(data=_pcm16(audio).tobytes(), sample_width=2, frame_rate=audio.sample_rate, channels=audio.channels)
    parameters = ["-nostdin", "-threads", "1", "-map_metadata", "-1", "-fflags", "+bitexact", "-flags:a", "+bitexact"]
    file = io.BytesIO()
    segment.export(file, format="ogg", codec="libopus", bitrate=f"{kbits}k", parameters=parameters)
    return file.getvalue()
