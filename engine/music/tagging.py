"""What a file says about itself, where each program looks for it: ``tagged`` writes ``Tags`` into FLAC, WAV, MP3 and Ogg Opus.

    ============  ==================  =======================  =====================================================
    what          MP3, WAV (ID3)      FLAC, Ogg (Vorbis)       read by
    ============  ==================  =======================  =====================================================
    tempo         TBPM "130"          BPM "130.4"              ID3 wants a whole number; the exact one is in TXXX:BPM
    key           TKEY "Am"           INITIALKEY "Am"          rekordbox, Traktor, Serato, Mixed In Key, Mixxx
    comment       COMM                COMMENT                  "AI-generated with pocket, seed 7, MIT · 130.4 BPM · 8A"
    cover         APIC                METADATA_BLOCK_PICTURE   FLAC: a picture block
    ============  ==================  =======================  =====================================================

WAV has an ID3 chunk and no LIST INFO chunk: that has no place for tempo and key, and where both are there ffmpeg shows only INFO.
Not here: the audio (``encode``).
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import mutagen
from mutagen.flac import FLAC, Picture
from mutagen.id3 import APIC, COMM, ID3, TBPM, TCOP, TENC, TIT2, TKEY, TPE1, TSSE, TXXX
from mutagen.mp3 import MP3
from mutagen.oggopus import OggOpus
from mutagen.wave import WAVE

from engine.keys import Key
from engine.music import words
from engine.musical import tempo

AI_GENERATED = "AI-generated"
SOFTWARE = "Techno Composer"
COVER_TYPE = "image/jpeg"

_FRONT_COVER = 3  # ID3v2.3, 4.15
_UTF16 = 1  # ID3v2.3 knows Latin-1 and UTF-16 only


@dataclass(frozen=True, slots=True)
class Tags:
    """What the file says about itself. None is left out; 'AI-generated' and the software are always said.

    checkpoint, adapter: which model made it, and the hash of what was trained on top. bpm, key: of the audio, not of the request. cover:
    JPEG bytes.
    """

    title: str | None = None
    prompt: str | None = None
    seed: int | None = None
    checkpoint: str | None = None
    adapter: str | None = None
    licence: str | None = None
    comment: str | None = None
    artist: str | None = None
    bpm: float | None = None
    key: Key | None = None
    cover: bytes | None = None

    @property
    def full_comment(self) -> str:
        """The comment that every player shows: 'AI-generated with MODEL, adapter HASH, seed N, licence · 130 BPM · 8A'."""
        parts = [
            f"{AI_GENERATED} with {self.checkpoint or SOFTWARE}",
            f"adapter {self.adapter}" if self.adapter else None,
            None if self.seed is None else f"seed {self.seed}",
            self.licence,
        ]
        made = ", ".join(part for part in parts if part)
        facts = [tempo(self.bpm) if self.bpm is not None else None, self.key.camelot if self.key else None, self.comment]
        return " · ".join([made, *(fact for fact in facts if fact)])


def tagged(data: bytes, format: str, tags: Tags) -> bytes:
    """``data``, a file of ``format`` (flac, wav, mp3 or ogg), with ``tags`` in the place of any that it has."""
    file = io.BytesIO(data)
    if format in {"mp3", "wav"}:
        opened: mutagen.FileType = MP3(file) if format == "mp3" else WAVE(file)
        if opened.tags is None:
            opened.add_tags()
        _write_id3(opened.tags, tags)
        file.seek(0)
        if format == "mp3":
            opened.save(file, v2_version=3, padding=lambda _: 0)
        else:
            opened.save(file, v2_version=3)
        return file.getvalue()
    opened = FLAC(file) if format == "flac" else OggOpus(file)
    if opened.tags is None:
        opened.add_tags()
    opened.tags.clear()
    for key, value in _vorbis(tags).items():
        opened.tags[key] = value
    if tags.cover is not None:
        picture = _picture(tags.cover)
        if format == "flac":
            opened.clear_pictures()
            opened.add_picture(picture)
        else:
            opened.tags["METADATA_BLOCK_PICTURE"] = base64.b64encode(picture.write()).decode("ascii")
    file.seek(0)
    opened.save(file, padding=lambda _: 0)
    return file.getvalue()


def _picture(cover: bytes) -> Picture:
    picture = Picture()
    picture.data, picture.type, picture.mime = cover, _FRONT_COVER, COVER_TYPE
    return picture


def _vorbis(tags: Tags) -> dict[str, str]:
    """Vorbis comments: free-form names, https://xiph.org/vorbis/doc/v-comment.html."""
    fields = {
        "TITLE": tags.title,
        "ARTIST": tags.artist or f"{SOFTWARE} ({AI_GENERATED})",
        "COMMENT": tags.full_comment,
        "LICENSE": tags.licence,
        "ENCODER": SOFTWARE,
        "BPM": None if tags.bpm is None else f"{tags.bpm:.2f}".rstrip("0").rstrip("."),
        "INITIALKEY": tags.key.short if tags.key else None,
        "PROMPT": tags.prompt,
        "SEED": None if tags.seed is None else str(tags.seed),
        "CHECKPOINT": tags.checkpoint,
        "ADAPTER": tags.adapter,
        "AI_GENERATED": "true",
    }
    tidied = {key: words.tidy(value, longest=2000) for key, value in fields.items()}  # no control characters, no lone surrogates
    return {key: value for key, value in tidied.items() if value is not None}


def _write_id3(frames: ID3, tags: Tags) -> None:
    frames.clear()
    values = _vorbis(tags)
    for frame, key in ((TIT2, "TITLE"), (TPE1, "ARTIST"), (TCOP, "LICENSE"), (TENC, "ENCODER"), (TSSE, "ENCODER"), (TKEY, "INITIALKEY")):
        if key in values:
            frames.add(frame(encoding=_UTF16, text=[values[key]]))
    if tags.bpm is not None:
        frames.add(TBPM(encoding=0, text=[f"{tags.bpm:.0f}"]))
    frames.add(COMM(encoding=_UTF16, lang="eng", desc="", text=[values["COMMENT"]]))
    for key in ("PROMPT", "SEED", "CHECKPOINT", "ADAPTER", "BPM", "AI_GENERATED"):
        if key in values:
            frames.add(TXXX(encoding=_UTF16, desc=key, text=[values[key]]))
    if tags.cover is not None:
        frames.add(APIC(encoding=0, mime=COVER_TYPE, type=_FRONT_COVER, desc="", data=tags.cover))
