"""MP3 by ffmpeg's LAME: ``Mp3Encoder``, a process that may be started before there is anything to encode.

ffmpeg takes longer to load its libraries than to encode ten seconds, and a take knows its rate and length long before its last sample. Not
here: which bit rate fits, tags (``encode``).
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engine.music.sandbox import find_tool

RATES = (48000, 44100, 32000, 24000, 22050, 16000)
"""What MP3 knows, in Hz; any other is resampled to the next above, or to the highest."""


class Mp3Encoder:
    """One file's encoder, loading from now on. Use it as a context: nothing of it is left afterwards, used or not."""

    def __init__(self, sample_rate: int, channels: int, kbits: int) -> None:
        """Raises AudioToolsMissing."""
        self.made_for, self.used = (sample_rate, channels, kbits), False
        self._folder = tempfile.TemporaryDirectory(prefix="engine-mp3-", ignore_cleanup_errors=True)
        self._path = Path(self._folder.name) / "clip.mp3"  # not a pipe: the header, with the true length, is written at the end
        rate = next((rate for rate in reversed(RATES) if rate >= sample_rate), RATES[0])
        command = [
            *(find_tool("ffmpeg"), "-nostdin", "-v", "error", "-threads", "1"),
            *("-f", "s16le", "-ar", str(sample_rate), "-ac", str(channels), "-i", "pipe:0"),
            *("-map_metadata", "-1", "-fflags", "+bitexact", "-flags:a", "+bitexact"),  # no dates: the same clip, the same bytes
            *("-c:a", "libmp3lame", "-b:a", f"{kbits}k", "-ar", str(rate)),
            *("-compression_level", "5"),  # LAME's own middle; what ffmpeg uses otherwise takes a fifth longer
            *("-f", "mp3", str(self._path)),
        ]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=subprocess.DEVNULL, stderr=pipe)  # noqa: S603  no shell

    def encode(self, samples: NDArray[np.int16]) -> bytes:
        """``samples`` [N, C] as a file. Once only. Raises RuntimeError, with ffmpeg's words, where it fails."""
        self.used = True
        _out, told = self._process.communicate(samples.tobytes())
        if self._process.returncode != 0:
            raise RuntimeError(f"ffmpeg could not write MP3 ({self._process.returncode}): {told.decode('utf-8', 'replace').strip()}")
        return self._path.read_bytes()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process.poll() is None:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stderr):
            if pipe is not None and not pipe.closed:
                pipe.close()
        self._process.wait()
        self._folder.cleanup()
