"""What a manner writes on: the grid of steps, the key, and lanes of bars. The manners themselves are in manners.py.

track   |bar 0      |bar 1      |bar 2 …
lane    |bars[0]~~~~|bars[1]~~~~|bars[0]~~~~      each bar may ring on (~) into the next
step     0123…15                                   16 to a bar, `step_samples` each; off-beats moved by `swing_samples`
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine.pocket.synth.voices import SAMPLE_RATE, Signal

FRAME_SAMPLES = 640  # the codec's 20 ms: on the grid of tempi a beat is whole frames, and every kick meets the codec in the same phase
STEPS = 16
NOTE_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
SCALES = {"minor": (0, 2, 3, 5, 7, 8, 10), "phrygian": (0, 1, 3, 5, 7, 8, 10), "major": (0, 2, 4, 5, 7, 9, 11)}
FOUR_ON_THE_FLOOR = (0, 4, 8, 12)

Hit = tuple[int, Signal, float]  # step, one shot, gain


@dataclass(frozen=True, slots=True)
class Lane:
    """One instrument: its bars in turn, how loud, and how far the kick pushes it down (0…1)."""

    role: str  # kick | hats | perc | bass | lead | pad: what sections switch on and off
    bars: list[Signal]
    gain: float
    duck: float = 0.0


@dataclass(slots=True)
class Score:
    """The state that one track's lanes are written with. `tags` collects the words that its sound has earned."""

    rng: np.random.Generator
    step_samples: int  # a sixteenth note; whole, so that everything is cut by sample
    swing: float = 0.0  # of a step
    root: int = 36  # MIDI note
    scale: str = "minor"
    kick_steps: tuple[int, ...] = FOUR_ON_THE_FLOOR  # of a bar; what ducks under the kick goes by them too
    tags: list[str] = field(default_factory=list)

    @property
    def bar_samples(self) -> int:
        """Four beats."""
        return self.step_samples * STEPS

    @property
    def bpm(self) -> float:
        """Exact."""
        return 15 * SAMPLE_RATE / self.step_samples

    @property
    def key(self) -> str:
        """As 'A minor'."""
        return f"{NOTE_NAMES[self.root % 12]} {self.scale}"

    def degree(self, degree: int, octave: int = 0) -> int:
        """The scale's `degree` (0 = root, may run past an octave) as a MIDI note."""
        return self.root + 12 * octave + 12 * (degree // 7) + SCALES[self.scale][degree % 7]

    def chord(self, degree: int, octave: int, voices: int = 4) -> list[float]:
        """Stacked thirds."""
        return [self.degree(degree + 2 * i, octave) for i in range(voices)]

    def place(self, hits: list[Hit], *, tail_s: float = 0.5) -> Signal:
        """One bar with its tail: `[bar_samples + tail]`, hits past the end cut."""
        bar = np.zeros(self.bar_samples + int(tail_s * SAMPLE_RATE))
        late = int(self.swing * self.step_samples)
        for step, shot, gain in hits:
            i = step * self.step_samples + (late if step % 2 else 0)
            n = min(len(shot), len(bar) - i)
            bar[i : i + n] += gain * shot[:n]
        return bar

    def pattern(self, density: float, *, off_beat: bool = False) -> list[int]:
        """Random steps, at least two; `off_beat` leaves the kick's steps free."""
        for _ in range(50):
            steps = [s for s in range(STEPS) if self.rng.random() < density and not (off_beat and s % 4 == 0)]
            if len(steps) >= 2:
                return steps
        return [2, 10]
