"""Audio as a file to send: ``encode`` to FLAC, WAV, MP3 or Ogg Opus, tagged, small enough, the same bytes each time.

FLAC and WAV are written by soundfile; MP3 and Opus by pydub and ffmpeg; tags by mutagen. Not here: what the tags should say.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import mutagen
import numpy as np
import soundfile
from mutagen.flac import FLAC
from mutagen.id3 import COMM, ID3, TCOP, TENC, TIT2, TPE1, TSSE, TXXX
from mutagen.mp3 import MP3
from mutagen.oggopus import OggOpus
from mutagen.wave import WAVE
from numpy.typing import NDArray

from engine.music import words
from engine.music.audio import Audio
from engine.music.sandbox import find_tool

Format = Literal["flac", "wav", "mp3", "ogg"]

AI_GENERATED = "AI-generated"
SOFTWARE = "Techno Composer"
BIT_RATES = (320, 256, 224, 192, 160, 128, 112, 96, 80, 64)
"""kbit/s, best first."""

_MEDIA_TYPES = {"flac": "audio/flac", "wav": "audio/wav", "mp3": "audio/mpeg", "ogg": "audio/ogg"}
_MAX_MONO_KBITS = 192  # one channel at 192 is what two have at 384
_MP3_RATES = (48000, 44100, 32000, 24000, 22050, 16000)
_MPEG2_MAX_KBITS = 160  # MPEG-2 layer III, for rates below 32 kHz


class DoesNotFit(ValueError):
    """Not even the lowest bit rate makes the file small enough."""


@dataclass(frozen=True, slots=True)
class Tags:
    """What the file says about itself. None is left out; 'AI-generated' and the software are always said."""

    title: str | None = None
    prompt: str | None = None
    seed: int | None = None
    checkpoint: str | None = None
    licence: str | None = None
    comment: str | None = None
    artist: str | None = None

    @property
    def full_comment(self) -> str:
        """The comment that every player shows: begins with 'AI-generated'."""
        return f"{AI_GENERATED}. {self.comment}" if self.comment else f"{AI_GENERATED} with {SOFTWARE}"


@dataclass(frozen=True, slots=True)
class Encoded:
    """A file. kbits: bit rate, None for FLAC and WAV."""

    data: bytes
    media_type: str
    extension: str
    kbits: int | None = None


def encode(audio: Audio, format: Format, *, max_bytes: int | None = None, tags: Tags | None = None) -> Encoded:
    """``audio`` as a file of at most ``max_bytes``, tags included.

    MP3 and Ogg take the highest bit rate that fits, from 320 kbit/s (192 for mono) down to 64. FLAC and WAV have 16 bits a sample; one
    that would be too big becomes MP3: ``extension`` and ``media_type`` say what it is. The same input gives the same bytes.

    Raises DoesNotFit, AudioToolsMissing, ValueError (no samples).
    """
    tags = tags or Tags()
    if audio.length_samples == 0:
        raise ValueError("nothing to encode: the audio has no samples")
    if format in {"flac", "wav"}:
        data = _tagged(_lossless(audio, format), format, tags)
        if max_bytes is None or len(data) <= max_bytes:
            return Encoded(data, _MEDIA_TYPES[format], format)
        format = "mp3"
    for kbits in _bit_rates(audio, format):
        if max_bytes is not None and kbits * 1000 / 8 * audio.duration_s > 1.02 * max_bytes:
            continue
        data = _tagged(_lossy(audio, format, kbits), format, tags)
        if max_bytes is None or len(data) <= max_bytes:
            return Encoded(data, _MEDIA_TYPES[format], format, kbits)
    assert max_bytes is not None
    raise DoesNotFit(f"{audio.duration_s:.0f} s of audio don't fit into {max_bytes / 2**20:.1f} MiB. Ask for a shorter clip.")


def _bit_rates(audio: Audio, format: str) -> Iterator[int]:
    best = BIT_RATES[0] if audio.channels > 1 else _MAX_MONO_KBITS
    if format == "mp3" and audio.sample_rate < 32000:
        best = min(best, _MPEG2_MAX_KBITS)
    return (kbits for kbits in BIT_RATES if kbits <= best)


def _pcm16(audio: Audio) -> NDArray[np.int16]:
    """[N, C] int16."""
    return np.asarray(np.clip(np.rint(audio.samples.T * 32767.0), -32768, 32767), dtype="<i2")


def _lossless(audio: Audio, format: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, _pcm16(audio), audio.sample_rate, format=format.upper(), subtype="PCM_16")
    return file.getvalue()


def _lossy(audio: Audio, format: str, kbits: int) -> bytes:
    """MP3 or Ogg Opus by ffmpeg, through pydub. Bit-exact flags leave dates and random stream numbers out."""
    find_tool("ffmpeg")
    from pydub import AudioSegment

    segment = AudioSegment(data=_pcm16(audio).tobytes(), sample_width=2, frame_rate=audio.sample_rate, channels=audio.channels)
    parameters = ["-nostdin", "-threads", "1", "-map_metadata", "-1", "-fflags", "+bitexact", "-flags:a", "+bitexact"]
    if format == "mp3":
        if audio.sample_rate not in _MP3_RATES:
            parameters += ["-ar", str(next((rate for rate in reversed(_MP3_RATES) if rate >= audio.sample_rate), _MP3_RATES[0]))]
        codec = "libmp3lame"
    else:
        codec = "libopus"
    file = io.BytesIO()
    segment.export(file, format=format, codec=codec, bitrate=f"{kbits}k", parameters=parameters)
    return file.getvalue()


def _tagged(data: bytes, format: str, tags: Tags) -> bytes:
    file = io.BytesIO(data)
    if format in {"mp3", "wav"}:
        tagged: mutagen.FileType = MP3(file) if format == "mp3" else WAVE(file)
        if tagged.tags is None:
            tagged.add_tags()
        _write_id3(tagged.tags, tags)
        file.seek(0)
        if format == "mp3":
            tagged.save(file, v2_version=3, padding=lambda _: 0)
        else:
            tagged.save(file, v2_version=3)
    else:
        tagged = FLAC(file) if format == "flac" else OggOpus(file)
        if tagged.tags is None:
            tagged.add_tags()
        tagged.tags.clear()
        for key, value in _vorbis(tags).items():
            tagged.tags[key] = value
        file.seek(0)
        tagged.save(file, padding=lambda _: 0)
    return file.getvalue()


def _vorbis(tags: Tags) -> dict[str, str]:
    """Vorbis comments: free-form names, https://xiph.org/vorbis/doc/v-comment.html."""
    fields = {
        "TITLE": tags.title,
        "ARTIST": tags.artist or f"{SOFTWARE} ({AI_GENERATED})",
        "COMMENT": tags.full_comment,
        "LICENSE": tags.licence,
        "ENCODER": SOFTWARE,
        "PROMPT": tags.prompt,
        "SEED": None if tags.seed is None else str(tags.seed),
        "CHECKPOINT": tags.checkpoint,
        "AI_GENERATED": "true",
    }
    tidied = {key: words.tidy(value, longest=2000) for key, value in fields.items()}  # no control characters, no lone surrogates
    return {key: value for key, value in tidied.items() if value is not None}


def _write_id3(frames: ID3, tags: Tags) -> None:
    frames.clear()
    utf16 = 1  # ID3v2.3 knows Latin-1 and UTF-16 only
    values = _vorbis(tags)
    for frame, key in ((TIT2, "TITLE"), (TPE1, "ARTIST"), (TCOP, "LICENSE"), (TENC, "ENCODER"), (TSSE, "ENCODER")):
        if key in values:
            frames.add(frame(encoding=utf16, text=[values[key]]))
    frames.add(COMM(encoding=utf16, lang="eng", desc="", text=[values["COMMENT"]]))
    for key in ("PROMPT", "SEED", "CHECKPOINT", "AI_GENERATED"):
        if key in values:
            frames.add(TXXX(encoding=utf16, desc=key, text=[values[key]]))
