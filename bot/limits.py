"""Discord's limits, and the few of our own that follow from them, in one place.

Sources: Discord's API documentation (resources/message, interactions/application-commands, topics/rate-limits).
"""

from __future__ import annotations

MESSAGE_CHARACTERS = 2000
EMBED_DESCRIPTION_CHARACTERS = 4096
EMBED_FIELD_CHARACTERS = 1024
AUTOCOMPLETE_CHOICES = 25
CHOICE_CHARACTERS = 100
MODAL_FILES = 10
NONCE_CHARACTERS = 25

FILE_BYTES = 10 * 2**20
"""What a bot may upload in one file where nothing raises it. ``Interaction.filesize_limit`` says what holds here and now."""

PICTURE_BYTES = 2**20
"""Left free in a message for the clip's picture."""

REQUEST_BYTES = 25 * 2**20
"""All files of one message together."""

PROGRESS_EVERY_S = 2.5
"""Least time between two edits of one progress message: a channel takes five edits in five seconds, and four takes may run in one."""

FINETUNE_EVERY_S = 5.0
"""The same for a finetune, which takes minutes to hours, and whose plot is uploaded anew."""

MESSAGE_FILES = 10

AUTOCOMPLETE_ANSWER_S = 2.0
"""Discord drops suggestions after 3 s; what isn't known by then is left out."""


def delivery_bytes(*limits: int | None) -> int:
    """Largest audio file that fits one message under all the limits known, in bytes."""
    known = [limit for limit in limits if limit]
    return min([*known, REQUEST_BYTES - PICTURE_BYTES]) if known else FILE_BYTES
