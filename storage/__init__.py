"""What must survive a restart: SQLite rows and content-addressed audio files. Knows neither Discord nor the engine.

Start in ``store``: it opens a data folder and hands out one repository for each thing that is kept. ``takes`` draws a take's life.
"""

from storage.answers import OpenAnswer
from storage.blobs import Blobs
from storage.database import Database
from storage.errors import BlobMissing, DatabaseTooNew, FinetuneUnderWay, NameTaken, NotFound, StorageError, WrongState
from storage.finetunes import Finetune
from storage.guilds import GuildSettings
from storage.ratings import CategoryResult, Changes, ExportRow, Rating
from storage.store import Store, open_store
from storage.takes import Clip, Take
from storage.tracks import Heard, Track

__all__ = [
    "BlobMissing",
    "Blobs",
    "CategoryResult",
    "Changes",
    "Clip",
    "Database",
    "DatabaseTooNew",
    "ExportRow",
    "Finetune",
    "FinetuneUnderWay",
    "GuildSettings",
    "Heard",
    "NameTaken",
    "NotFound",
    "OpenAnswer",
    "Rating",
    "StorageError",
    "Store",
    "Take",
    "Track",
    "WrongState",
    "open_store",
]
