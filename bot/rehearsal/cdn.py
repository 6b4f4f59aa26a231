"""The CDN: attachments as files on disk, and the uploads that members have not sent yet.

    data/cdn/1421…        one file an attachment, named by its id
    data/uploads/Xq3…     picked in the page, not yet part of a message or command; thrown away at the next start

Not here: which message names which attachment (``backend``, ``persistence``).
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web

MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "m4a": "audio/mp4",
    "aiff": "audio/aiff",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "csv": "text/csv",
    "txt": "text/plain",
    "json": "application/json",
    "mp4": "video/mp4",
}
INLINE = ("audio/", "video/", "image/png", "image/jpeg", "image/gif", "image/webp")
"""What a browser may draw in place. The rest is offered as a download: nothing that a member uploads runs in the page."""
MAX_WAITING_UPLOADS = 40


class TooLargeError(Exception):
    """An upload above its limit."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that a member picked in the page and has not sent yet."""

    upload_id: str
    filename: str
    path: Path
    size: int


def media_type(filename: str) -> str:
    return MEDIA_TYPES.get(filename.rpartition(".")[2].lower(), "application/octet-stream")


def safe_filename(filename: str) -> str:
    """The name as Discord would store it: no path, no control characters, blanks become underscores, the ending stays."""
    name = re.sub(r"[^\w.()+-]+", "_", re.split(r"[/\\]", filename)[-1]).lstrip(".")
    stem, dot, ending = name.rpartition(".")
    return (f"{stem[:120]}{dot}{ending[:20]}" if dot and stem else name[:140]) or "file"


class Cdn:
    """SimCord's ``CdnStore`` interface over a folder. ``base_url`` is known once the server listens."""

    def __init__(self, folder: Path) -> None:
        self.files = folder / "cdn"
        self.files.mkdir(parents=True, exist_ok=True)
        self.base_url = "http://127.0.0.1"
        self._names: dict[int, str] = {}

    def store_attachment(self, attachment_id: int, channel_id: int, filename: str, data: bytes, description: str | None) -> dict[str, Any]:
        """Write the bytes; returns Discord's attachment object."""
        (self.files / str(attachment_id)).write_bytes(data)
        return self._describe(attachment_id, channel_id, filename, len(data), description)

    def adopt(self, attachment_id: int, channel_id: int, upload: Upload) -> dict[str, Any]:
        """Turn a waiting upload into an attachment without reading it."""
        shutil.copyfile(upload.path, self.files / str(attachment_id))
        return self._describe(attachment_id, channel_id, upload.filename, upload.size, None)

    def _describe(self, attachment_id: int, channel_id: int, filename: str, size: int, description: str | None) -> dict[str, Any]:
        filename = safe_filename(filename)
        self._names[attachment_id] = filename
        url = f"{self.base_url}/cdn/attachments/{channel_id}/{attachment_id}/{quote(filename)}"
        described: dict[str, Any] = {"id": str(attachment_id), "filename": filename, "size": size, "url": url, "proxy_url": url}
        return {**described, "description": description, "content_type": media_type(filename)}

    def get(self, url: str) -> bytes | None:
        """The bytes behind one of this CDN's own URLs."""
        match = re.fullmatch(re.escape(self.base_url) + r"/cdn/attachments/\d+/(\d+)/[^/]+", url)
        path = self.files / match[1] if match else None
        return path.read_bytes() if path is not None and path.is_file() else None

    def remember(self, attachments: Iterable[dict[str, Any]]) -> None:
        """Take over the attachments of a saved world."""
        for attachment in attachments:
            self._names[int(attachment["id"])] = attachment["filename"]

    def forget(self, attachment_id: int) -> None:
        self._names.pop(attachment_id, None)
        (self.files / str(attachment_id)).unlink(missing_ok=True)

    def sweep(self) -> int:
        """Remove files that nothing names any more; returns how many."""
        orphans = [path for path in self.files.iterdir() if not path.name.isdigit() or int(path.name) not in self._names]
        for path in orphans:
            path.unlink()
        return len(orphans)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """``GET /cdn/attachments/{channel}/{id}/{filename}``, with byte ranges so that a player can seek."""
        attachment_id = int(request.match_info["attachment_id"])
        name = self._names.get(attachment_id)
        path = self.files / str(attachment_id)
        if name is None or name != request.match_info["filename"] or not path.is_file():
            raise web.HTTPNotFound
        kind = media_type(name)
        place = "inline" if kind.startswith(INLINE) and "download" not in request.query else "attachment"
        return web.FileResponse(
            path,
            headers={
                "Content-Type": kind,
                "Content-Disposition": f"{place}; filename*=UTF-8''{quote(name)}",
                "Content-Security-Policy": "default-src 'none'; sandbox",
                "Cache-Control": "private, max-age=3600",
            },
        )


class Uploads:
    """Files that members picked in the page, each kept until it is sent or too many newer ones wait."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder / "uploads"
        self.max_bytes = max_bytes
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self._waiting: dict[str, Upload] = {}

    async def receive(self, filename: str, chunks: AsyncIterator[bytes]) -> Upload:
        """Write a body to disk as it comes. Raises TooLargeError above ``max_bytes``."""
        upload_id = secrets.token_urlsafe(12)
        path = self.folder / upload_id
        size = 0
        try:
            with path.open("wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > self.max_bytes:
                        raise TooLargeError
                    file.write(chunk)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        upload = Upload(upload_id, safe_filename(filename), path, size)
        self._waiting[upload_id] = upload
        while len(self._waiting) > MAX_WAITING_UPLOADS:
            self.discard(next(iter(self._waiting)))
        return upload

    def get(self, upload_id: str) -> Upload | None:
        return self._waiting.get(upload_id)

    def discard(self, upload_id: str) -> None:
        upload = self._waiting.pop(upload_id, None)
        if upload is not None:
            upload.path.unlink(missing_ok=True)


def avatar_svg(name: str, color: str) -> str:
    """A member's picture: the initials on their colour, so that no portrait has to be shipped."""
    initials = "".join(word[0] for word in re.split(r"[\s_]+", name) if word)[:2].upper()
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 80 80">'
        f'<rect width="80" height="80" fill="{escape(color)}"/>'
        '<path d="M0 80 L80 20 V80 Z" fill="#000" fill-opacity=".16"/>'
        '<text x="40" y="51" text-anchor="middle" font-family="system-ui, sans-serif" font-weight="700" font-size="30"'
        f' fill="#fff">{escape(initials)}</text></svg>'
    )
