"""What can go wrong in the store. Every message is for a person and says what to do."""

from __future__ import annotations


class StorageError(Exception):
    """Anything that the store refuses to do."""


class DatabaseTooNew(StorageError):
    """The file was written by a later version of the project."""


class MigrationFailed(StorageError):
    """A migration did not go through; the database is as it was before it."""


class NotFound(StorageError):
    """No such row, or none in this guild."""


class FinetuneUnderWay(StorageError):
    """The guild's last finetune has not ended yet."""


class NameTaken(StorageError):
    """Another finetune of the guild has that name."""


class WrongState(StorageError):
    """A take (or a finetune) can't go from its present state to the wanted one.

    ``state`` is where it stands, so that the caller can tell a take that has ended from one that has not begun.
    """

    def __init__(self, take_id: str, state: str, wanted: str, *, what: str = "take") -> None:
        super().__init__(f"{what} {take_id} is {state} and can't become {wanted}")
        self.take_id = take_id
        self.state = state
        self.wanted = wanted


class BlobMissing(StorageError):
    """No bytes under that SHA-256."""
