"""The engine: holds MusicGen and makes music over HTTP or from the command line. ``engine.api`` and ``engine.client`` need no torch."""
