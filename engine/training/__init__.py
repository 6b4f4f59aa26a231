"""Finetuning on a crate: adapters, segments, losses, the loop, the gate. It trains what ``engine.musicgen`` runs."""
