"""What could not be read: one error for a library that can't be read at all, and a bounded list of sentences for the parts that can't."""

from __future__ import annotations

MOST_PROBLEMS = 200


class LibraryError(Exception):
    """The library, the playlist or the analysis can't be had. ``str(error)`` is for the DJ, and says what to do."""


class Problems:
    """Sentences in the order in which they came up, each once. ``MOST_PROBLEMS`` are kept, the rest counted: damage has no end."""

    def __init__(self) -> None:
        self._kept: dict[str, None] = {}
        self._more = 0

    def add(self, sentence: str) -> None:
        if sentence in self._kept:
            return
        if len(self._kept) < MOST_PROBLEMS:
            self._kept[sentence] = None
        else:
            self._more += 1

    def told(self) -> tuple[str, ...]:
        more = (f"And {self._more:,} more of the kind.",) if self._more else ()
        return (*self._kept, *more)
