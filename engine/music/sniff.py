"""What bytes are when they are no audio: said from their first kilobytes, without running anything. Pure."""

from __future__ import annotations

import re

_HEAD_BYTES = 4096

_MAGIC = (
    (b"PK\x03\x04", "a ZIP archive. Unpack it and upload the track inside"),
    (b"PK\x05\x06", "an empty ZIP archive. Upload the track itself"),
    (b"Rar!", "a RAR archive. Unpack it and upload the track inside"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive. Unpack it and upload the track inside"),
    (b"\x1f\x8b", "a gzip archive. Unpack it and upload the track inside"),
    (b"%PDF", "a PDF. Upload the track itself"),
    (b"\x89PNG", "a picture. Upload the track itself"),
    (b"\xff\xd8\xff", "a picture. Upload the track itself"),
    (b"GIF8", "a picture. Upload the track itself"),
    (b"MThd", "a MIDI file: notes without sound. Render it to audio first"),
    (b"MZ", "a program, not audio"),
    (b"\x7fELF", "a program, not audio"),
    (b"SQLite format 3", "a database, not audio"),
)

_PLAYLIST_STARTS = ("#extm3u", "[playlist]", "ffconcat", "<asx", "<?wpl", "<smil", "<mpd")
_PLAYLIST_MARKS = ("<playlist", "<mpd", "<asx", "<smil")
_PLAYLIST_LINE = re.compile(
    r"\s*(file\s+\S"  # concat scripts and cue sheets
    r"|file\d+\s*="  # PLS
    r"|[a-z]+://"
    r"|\S.*\.(mp3|wav|flac|ogg|opus|m4a|aac|aiff?|ts|m3u8?)\s*$)"
)


def what_else(data: bytes) -> str | None:
    """None when ``data`` may be audio, else a noun phrase and what to do instead, to stand after 'is '."""
    head = data[:_HEAD_BYTES]
    for magic, words in _MAGIC:
        if head.startswith(magic):
            return words
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "a picture. Upload the track itself"
    text = _as_text(head)
    if text is None:
        return None
    if _is_playlist(text):
        return "a playlist: it names tracks, and holds no sound. Upload the track itself"
    return "text, not audio. Upload the track itself: MP3, WAV, FLAC, OGG, Opus, M4A or AIFF"


def _as_text(head: bytes) -> str | None:
    """The head as text, or None when it is binary."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) and b"\x00" in head:
        try:
            text = head[: len(head) // 2 * 2].decode("utf-16")
        except UnicodeDecodeError:
            return None
    else:
        if b"\x00" in head:
            return None
        try:
            text = head.decode("utf-8")
        except UnicodeDecodeError as error:
            if len(head) - error.start > 3 or error.start == 0:  # more than a letter cut in two by the end of the head
                return None
            text = head[: error.start].decode("utf-8")
    printable = sum(letter.isprintable() or letter in "\r\n\t\f" for letter in text)
    return text if text and printable >= 0.97 * len(text) else None


def _is_playlist(text: str) -> bool:
    lowered = text.lstrip("\ufeff \r\n\t").lower()
    if lowered.startswith(_PLAYLIST_STARTS) or any(mark in lowered for mark in _PLAYLIST_MARKS):
        return True
    lines = [line for line in lowered.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return bool(lines) and sum(bool(_PLAYLIST_LINE.match(line)) for line in lines) * 2 >= len(lines)
