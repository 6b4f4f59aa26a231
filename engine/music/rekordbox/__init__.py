"""What a DJ's rekordbox knows of her music, read and never written: a USB stick (``export.pdb``, analysis files) or ``rekordbox.xml``.

    find_library(stick)  →  Library: tracks, playlists, histories, problems
    library.analysis(track_id), read_analysis(path)  →  DjAnalysis: beat grid, cues

``library``, ``grid`` values · ``problems`` what could not be read · ``find`` which kind a path is · ``pages``, ``rows`` the format of
export.pdb · ``pdb`` a library made of it · ``anlz`` ANLZ0000.DAT and .EXT · ``xml`` the collection that rekordbox exports as XML

Everything here parses bytes that may be cut off, damaged or hostile: what can't be read is named in ``problems`` and the rest is read.
Not here: audio, and what the project itself finds in it.
"""

from engine.music.rekordbox.anlz import read_analysis
from engine.music.rekordbox.find import find_library
from engine.music.rekordbox.grid import BeatGrid, Cue, DjAnalysis
from engine.music.rekordbox.library import History, Library, LibraryError, LibraryTrack, Playlist

__all__ = [
    "BeatGrid",
    "Cue",
    "DjAnalysis",
    "History",
    "Library",
    "LibraryError",
    "LibraryTrack",
    "Playlist",
    "find_library",
    "read_analysis",
]
