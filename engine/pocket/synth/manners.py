"""The manners of techno by name. How they are written is in driving.py and deep.py, how lanes become a track in arrangement.py.

A manner's writer is a function from a `Score` to lanes. Loops are one, two or four bars long and come back exactly; what changes over a
track is which lanes play (sections), and where filters and echoes stand. Tempi overlap on purpose: neither the manner nor the kick may
give the tempo away, so that the number in the caption has to be read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.pocket.synth.deep import write_detroit, write_dub, write_hypnotic, write_melodic, write_minimal
from engine.pocket.synth.driving import write_acid, write_breakbeat, write_hard, write_industrial
from engine.pocket.synth.score import Lane, Score


@dataclass(frozen=True, slots=True)
class Manner:
    """A name, the words people use for it, its grid of tempi as frames a beat (3000 / frames = BPM), its moods, scales and writer."""

    name: str
    words: tuple[str, ...]
    beat_frames: tuple[int, ...]
    moods: tuple[str, ...]
    scales: tuple[str, ...]  # one is drawn, each as likely
    write: Callable[[Score], list[Lane]]

    @property
    def tempi(self) -> tuple[int, int]:
        """Its slowest and its fastest tempo in BPM, as whole numbers; the ends of the grid reach to 110 and to 160."""
        slowest, fastest = 3000 / max(self.beat_frames), 3000 / min(self.beat_frames)
        return max(110, round(slowest - 1)), min(160, round(fastest + 2))


DARK, PLAIN, BRIGHT = ("minor", "minor", "phrygian"), ("minor",), ("minor", "minor", "minor", "major")
MANNERS: dict[str, Manner] = {
    m.name: m
    for m in (
        Manner("acid", ("acid techno", "acid"), (20, 21, 22, 23, 24),
               ("psychedelic", "dark", "energetic"), DARK, write_acid),
        Manner("minimal", ("minimal techno", "minimal"), (22, 23, 24, 25, 26),
               ("cold", "groovy", "subtle"), PLAIN, write_minimal),
        Manner("hard", ("hard techno", "peak-time techno"), (19, 20, 21, 22),
               ("dark", "relentless", "fast", "aggressive"), DARK, write_hard),
        Manner("dub", ("dub techno", "deep techno"), (24, 25, 26, 27),
               ("deep", "smoky", "warm"), PLAIN, write_dub),
        Manner("detroit", ("detroit techno", "classic techno"), (22, 23, 24, 25, 26),
               ("soulful", "futuristic", "bright"), BRIGHT, write_detroit),
        Manner("melodic", ("melodic techno", "progressive techno"), (23, 24, 25, 26),
               ("emotional", "dreamy", "uplifting"), BRIGHT, write_melodic),
        Manner("industrial", ("industrial techno", "warehouse techno"), (20, 21, 22, 23),
               ("dark", "harsh", "bleak"), DARK, write_industrial),
        Manner("breakbeat", ("breakbeat techno", "breakbeat"), (20, 21, 22, 23, 24, 25),
               ("ravey", "rough", "energetic"), PLAIN, write_breakbeat),
        Manner("hypnotic", ("hypnotic techno", "tribal techno"), (21, 22, 23, 24, 25),
               ("hypnotic", "ritual", "deep"), DARK, write_hypnotic),
    )
}  # fmt: skip
HELD_OUT_MANNERS = ("industrial",)
TRAINING_MANNERS = tuple(name for name in MANNERS if name not in HELD_OUT_MANNERS)
