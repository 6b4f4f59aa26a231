"""How this package says names and lengths to a person. Pure."""

from __future__ import annotations


def label(name: str) -> str:
    """A file name fit for a sentence: without folders and control characters, not long."""
    shown = tidy(name.replace("\\", "/").rpartition("/")[2], 60)
    return "The upload" if shown in {None, "upload"} else f"“{shown}”"


def tidy(text: str | None, longest: int = 200) -> str | None:
    """One line of printable letters, shortened with an ellipsis; None when nothing is left."""
    if text is None:
        return None
    kept = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return (kept if len(kept) <= longest else kept[: longest - 1] + "…") or None


def length(seconds: float) -> str:
    """Seconds in words: 3 h 5 min, 4 min 10 s, 8.5 s."""
    if seconds < 60:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    parts = [f"{hours} h" if hours else "", f"{minutes} min" if minutes else "", f"{rest} s" if rest and not hours else ""]
    return " ".join(part for part in parts if part)
