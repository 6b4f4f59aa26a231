"""Keys are in ``engine.keys``: the wire and the bot read them too, without numpy."""

from engine.keys import NOTE_NAMES, Key, Mode, compatible, parse_key

__all__ = ["NOTE_NAMES", "Key", "Mode", "compatible", "parse_key"]
