"""Small real tracks to upload, for the check and the end-to-end tests: a kick, hats and a bass line, as WAV, FLAC or MP3.

The rehearsal runs where the engine runs, so numpy and soundfile are there; MP3s are made by ffmpeg with tags, as a DJ's are.
"""

from __future__ import annotations

import io
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.rehearsal.visitor import File

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SAMPLE_RATE = 44_100


def tune(seconds: float, *, bpm: float = 132.0, seed: int = 0, channels: int = 2) -> npt.NDArray[np.float32]:
    """Samples [N, channels] in [-1, 1]: the same for the same arguments."""
    import numpy as np

    random = np.random.default_rng(seed)
    mix = np.zeros(round(seconds * SAMPLE_RATE))
    step = 60.0 / bpm / 4
    notes = 55.0 * 2 ** (random.choice([0, 0, 3, 5, 7, 10], 16) / 12)
    for number in range(int(seconds / step)):
        begin = round(number * step * SAMPLE_RATE)
        sounds: list[Any] = [0.22 * _bass(notes[number % 16], step)]
        if number % 4 == 0:
            sounds.append(0.7 * _kick())
        if number % 4 == 2:
            sounds.append(0.18 * random.standard_normal(2_000) * np.exp(-np.arange(2_000) / 400))
        for sound in sounds:
            piece = sound[: len(mix) - begin]
            mix[begin : begin + len(piece)] += piece
    stereo = np.stack([mix * (1 - 0.1 * channel) for channel in range(channels)], axis=1)
    return np.asarray(stereo / max(1.0, float(np.abs(stereo).max())), dtype=np.float32)


def _kick() -> npt.NDArray[np.float64]:
    import numpy as np

    t = np.arange(12_000) / SAMPLE_RATE
    return np.asarray(np.sin(2 * np.pi * (45 * t + 8 * (1 - np.exp(-t * 35)))) * np.exp(-t * 14))


def _bass(hertz: float, seconds: float) -> npt.NDArray[np.float64]:
    import numpy as np

    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.asarray((2 * ((hertz * t) % 1.0) - 1) * np.exp(-t * 9))


def wav(name: str, seconds: float, **how: Any) -> File:
    return File(name, _written(tune(seconds, **how), "WAV"))


def flac(name: str, seconds: float, **how: Any) -> File:
    return File(name, _written(tune(seconds, **how), "FLAC"))


def mp3(name: str, seconds: float, *, title: str, artist: str, **how: Any) -> File:
    """Through ffmpeg, with ID3 tags. Raises FileNotFoundError without ffmpeg, CalledProcessError where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        raw, finished = Path(folder, "raw.wav"), Path(folder, "finished.mp3")
        raw.write_bytes(_written(tune(seconds, **how), "WAV"))
        tags = ("-metadata", f"title={title}", "-metadata", f"artist={artist}")
        command = ("ffmpeg", "-v", "error", "-i", str(raw), *tags, "-b:a", "192k", str(finished))
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)  # noqa: S603  (fixed arguments, no shell)
        return File(name, finished.read_bytes())


def _written(samples: Any, container: str) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE, format=container, subtype="PCM_16")
    return buffer.getvalue()
