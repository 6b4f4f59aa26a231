"""Times in the database: UTC, as ISO text of one fixed width, so that text order is time order. In Python: aware datetimes."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """The present, in UTC."""
    return datetime.now(UTC)


def to_text(at: datetime) -> str:
    """``2024-05-01T20:00:00.000000+00:00``. Raises ValueError for a datetime without a zone: it would mean another time elsewhere."""
    if at.tzinfo is None:
        raise ValueError("a time needs its zone: use datetime.now(timezone.utc)")
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def from_text(text: str) -> datetime:
    return datetime.fromisoformat(text)


def from_optional(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
