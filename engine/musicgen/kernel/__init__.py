"""The language model's step in C, for CPUs: see ``forward.c``, which is read first. ``native`` calls it, ``build`` compiles it."""
