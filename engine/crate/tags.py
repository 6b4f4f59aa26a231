"""What a file's own tags say: ``read_tags``; and its name, where they say nothing: ``from_name``. Read by mutagen, never written.

Tags are written by shops and by DJ software, with as many spellings as there are formats; this knows those that DJs meet.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.music.words import tidy

log = logging.getLogger(__name__)

LOWEST_BPM, HIGHEST_BPM = 40.0, 300.0

_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "title": ("tit2", "title", "©nam"),
    "artist": ("tpe1", "artist", "©art"),
    "genre": ("tcon", "genre", "©gen"),
    "remixer": ("tpe4", "remixer", "mixartist", "txxx:remixer", "----:com.apple.itunes:remixer"),
    "bpm": ("tbpm", "bpm", "tempo", "tmpo", "txxx:bpm", "----:com.apple.itunes:bpm"),
    "key": ("tkey", "initialkey", "initial key", "key", "txxx:initialkey", "----:com.apple.itunes:initialkey"),
    "comment": ("comm", "comment", "description", "©cmt", "txxx:comment"),
    "mood": ("tmoo", "mood", "txxx:mood"),
}
_MY_TAGS = re.compile(r"/\*\s*(.*?)\s*\*/")
"""rekordbox writes its My Tags into comments as '/* Dark / Peak time */'."""
_NUMBER = re.compile(r"^\s*(?:\(?\d{1,3}\)?\s*[.\-_)]+\s*|[A-D]\d{1,2}\s*[.\-_]+\s*|\d{2}\s+(?=\S))")


@dataclass(frozen=True, slots=True)
class Tags:
    """None: the file does not say. promised_s: how long its header says it is, where that is no guess."""

    title: str | None = None
    artist: str | None = None
    genre: str | None = None
    remixer: str | None = None
    bpm: float | None = None
    key: str | None = None
    comment: str | None = None
    mood: str | None = None
    promised_s: float | None = None


def read_tags(path: Path) -> Tags:
    """Never raises for what is in the file: tags that can't be read are no tags, and logged."""
    import mutagen

    try:
        file = mutagen.File(path)
        if file is None:
            return Tags()
        found = {_plain(key): _text(value) for key, value in (file.tags or {}).items()}
    except Exception as error:  # mutagen raises struct.error, IndexError and others on damaged files beside its own
        log.info("tags of %s can't be read (%s): it goes by its name", path.name, type(error).__name__)
        return Tags()
    said = {field: next((found[key] for key in keys if found.get(key)), None) for field, keys in _SPELLINGS.items()}
    return Tags(
        **{field: tidy(text) for field, text in said.items() if field != "bpm"},
        bpm=tempo(said["bpm"]),
        promised_s=_promised(file.info),
    )


def from_name(path: Path) -> tuple[str | None, str]:
    """(artist, title) of '01 - Artist - Title.mp3'."""
    name = _NUMBER.sub("", path.stem.replace("_", " ")).strip() or path.stem
    artist, dash, title = name.partition(" - ")
    return (tidy(artist), tidy(title) or name) if dash and title.strip() else (None, tidy(name) or path.name)


def my_tags(comment: str | None) -> tuple[str, ...]:
    """The DJ's own words for a track, as rekordbox keeps them in its comment."""
    found = _MY_TAGS.search(comment or "")
    return tuple(word.strip() for word in found[1].split("/") if 0 < len(word.strip()) <= 30) if found else ()


def tempo(text: str | None) -> float | None:
    """'128', '128.00', '128,5'; None for what is none."""
    try:
        bpm = float((text or "").strip().replace(",", "."))
    except ValueError:
        return None
    return bpm if LOWEST_BPM <= bpm <= HIGHEST_BPM else None


def _plain(key: str) -> str:
    """'COMM::eng' to 'comm', 'TXXX:BPM' to 'txxx:bpm'."""
    lowered = key.lower()
    return lowered.partition(":")[0] if lowered.startswith("comm:") else lowered


def _text(value: Any) -> str:
    """The first value of a frame, as text."""
    for name in ("genres", "text"):  # ID3: TCON holds '(18)' for Techno, and 'genres' spells it
        inner = getattr(value, name, None)
        if isinstance(inner, list):
            return str(inner[0]) if inner else ""
    first = value[0] if isinstance(value, list | tuple) and value else value
    return bytes(first).decode("utf-8", "replace") if isinstance(first, bytes) else str(first)


def _promised(info: Any) -> float | None:
    length = getattr(info, "length", None)
    guessed = str(getattr(info, "bitrate_mode", "")).endswith("UNKNOWN")  # an MP3 without a table of contents
    return float(length) if length and not guessed else None
