"""Says what a path is: a DJ's stick, its PIONEER folder, its export.pdb, a rekordbox.xml, or none of them."""

from __future__ import annotations

from pathlib import Path

from engine.music.rekordbox.library import Library
from engine.music.rekordbox.pdb import read_export
from engine.music.rekordbox.problems import LibraryError

_DATABASE, _NEWER_DATABASE, _TAGS = "export.pdb", "exportlibrary.db", "exportext.pdb"


def find_library(root: Path) -> Library | None:
    """The library at ``root``, or None: a folder or file without one.

    LibraryError: nothing is there, or there is a library that can't be read; the words say what to do.
    """
    root = Path(root)
    try:
        if root.is_dir():
            return _in_folder(root)
        if not root.exists():
            raise LibraryError(f"There is no {root}. Is the stick in, and mounted?")
    except OSError as error:
        raise LibraryError(f"{root} can't be read ({error.strerror}). Is the stick still in, and may you read it?") from error
    if root.name.lower() == _TAGS:
        raise LibraryError(f"{root.name} holds the stick's tags only. Name the export.pdb beside it, or the stick.")
    if root.suffix.lower() == ".pdb":
        return read_export(root, _stick_of(root))
    if root.suffix.lower() == ".xml":
        from engine.music.rekordbox.xml import read_collection

        return read_collection(root)
    return None


def _in_folder(folder: Path) -> Library | None:
    """``folder`` is the stick, PIONEER or PIONEER/rekordbox. Players make a PIONEER folder on any stick: without a database it is none."""
    for names in (("pioneer", "rekordbox"), ("rekordbox",), ()):
        for place in _named(folder, names):
            found = {entry.name.lower(): entry for entry in place.iterdir() if entry.name.lower() in {_DATABASE, _NEWER_DATABASE}}
            if _DATABASE in found:
                return read_export(found[_DATABASE], _stick_of(found[_DATABASE]))
            if _NEWER_DATABASE in found:
                raise LibraryError(
                    "This stick was exported for the newest players only (Device Library Plus, encrypted). In rekordbox, export to it as "
                    "Device Library too, or export the collection as XML and name that file."
                )
    return None


def _named(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """Folders below ``folder`` by those names, whatever their capitals. A Mac's stick hides PIONEER as ".PIONEER"."""
    places = [folder]
    for name in names:
        places = [
            entry for place in places for entry in sorted(place.iterdir()) if entry.name.lower() in {name, f".{name}"} and entry.is_dir()
        ]
    return places


def _stick_of(database: Path) -> Path:
    """PIONEER/rekordbox/export.pdb lies two folders down; a copy elsewhere starts where it lies."""
    database = database.absolute()
    folders = [folder.name.lower() for folder in (database.parent, database.parent.parent)]
    return database.parents[2] if folders[0] == "rekordbox" and folders[1] in {"pioneer", ".pioneer"} else database.parent
