"""MusicGen: language model, delay pattern, codec, conditioning, checkpoints, generation.

Codes and samples in, codes and samples out; no files of users, no HTTP. Importing this package imports nothing heavy.
"""
