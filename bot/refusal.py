"""The error whose message a member reads as it is. Pure: no Discord, no database, no engine."""

from __future__ import annotations


class Refusal(Exception):
    """The request can't be done, and the message says what to do instead."""

    @property
    def message(self) -> str:
        return str(self.args[0])


def sentence(text: str) -> str:
    """Another part's words as a sentence: a capital first, a full stop last."""
    text = text.strip()
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")
