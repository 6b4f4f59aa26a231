"""Runs ffmpeg and ffprobe on bytes that a stranger sent, within limits.

Here: files, processes, clocks. Not here: what the bytes mean (``audio``).

    bytes ─▶ private file ─▶ [ sh: ulimit … ─exec─▶ ffmpeg -nostdin -protocol_whitelist file,pipe … ] ─▶ pipe ─▶ sink
                              own session and process group, CPU, memory, open files and file size limited,
                              killed as a group when the clock or the output runs over

Demuxers and decoders are named one by one: playlists, concat scripts, HLS, DASH, image sequences and devices can't be reached, so
no upload makes ffmpeg open another file or a URL. The environment is empty but for the search path: no token is inherited. POSIX only.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DEMUXERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,iff,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,ogg,oma,opus,"
    "rm,tak,truehd,tta,voc,w64,wav,wv"
)
DECODERS = (
    "aac,aac_latm,ac3,adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,adpcm_swf,alac,amrnb,amrwb,ape,atrac3,atrac3p,cook,dca,dsd_lsbf,dsd_lsbf_planar,"
    "dsd_msbf,dsd_msbf_planar,eac3,flac,gsm_ms,libgsm_ms,libopus,libvorbis,mlp,mp1,mp1float,mp2,mp2float,mp3,mp3float,mpc7,mpc8,nellymoser,opus,"
    "pcm_alaw,pcm_f32be,pcm_f32le,pcm_f64be,pcm_f64le,pcm_mulaw,pcm_s16be,pcm_s16be_planar,pcm_s16le,pcm_s16le_planar,pcm_s24be,pcm_s24le,"
    "pcm_s24le_planar,pcm_s32be,pcm_s32le,pcm_s32le_planar,pcm_s64be,pcm_s64le,pcm_s8,pcm_s8_planar,pcm_u16be,pcm_u16le,pcm_u24be,pcm_u24le,"
    "pcm_u32be,pcm_u32le,pcm_u8,speex,tak,truehd,tta,vorbis,wavpack,wmalossless,wmapro,wmav1,wmav2,wmavoice"
)

PICTURE_DECODERS = (
    "mjpeg,png,bmp,gif,webp,h264,hevc,mpeg4,mpeg1video,mpeg2video,msmpeg4v2,msmpeg4v3,wmv1,wmv2,wmv3,vc1,flv,vp6f,vp8,vp9,libvpx-vp9,av1,libdav1d,"
    "theora,prores,mov_text,subrip,ass,ssa,webvtt"
)

DECODE_OPTIONS = ["-protocol_whitelist", "file,pipe", "-format_whitelist", DEMUXERS, "-codec_whitelist", DECODERS]
"""For ffmpeg, before ``-i``."""
PROBE_OPTIONS = [*DECODE_OPTIONS[:-1], f"{DECODERS},{PICTURE_DECODERS}"]
"""For ffprobe, which gives up when it can't open each stream's decoder, a cover picture's too."""

INSTALL = "Install ffmpeg: `apt install ffmpeg` on Debian and Ubuntu, `brew install ffmpeg` on macOS, `dnf install ffmpeg` on Fedora."

_LAUNCH = """
trap "" XFSZ  # a write past the limit fails and says so, instead of ending the program
for limit in "-t $1" "-v $2" "-f 0" "-n 64" "-c 0"; do ulimit $limit 2>/dev/null || :; done
shift 2
exec "$@"
"""
"""A shell takes limits on itself (CPU seconds, KiB of address space, no byte to any file, open files, no core), then becomes ffmpeg.

In a process of its own since ``preexec_fn`` is unsafe in a program with threads. macOS knows no limit on address space.
"""
_CHUNK_BYTES = 1 << 18
_STDERR_BYTES = 1 << 16


class AudioToolsMissing(RuntimeError):
    """ffmpeg or ffprobe is not on this machine. The message holds the command that installs it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use. ``memory_bytes`` is address space: ffmpeg's libraries alone map some 250 MB of it."""

    wall_s: float = 60.0
    cpu_s: int = 45
    memory_bytes: int = 1 << 30
    output_bytes: int = 1 << 29


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. ``stopped`` says which limit ended it, None when it ended by itself."""

    returncode: int
    stderr: str
    stopped: Literal["time", "output"] | None


def require_tools() -> None:
    """Raises AudioToolsMissing unless ffmpeg and ffprobe can be run. Call it at start: better then than at the first upload."""
    for tool in ("ffmpeg", "ffprobe"):
        find_tool(tool)


def find_tool(name: str) -> str:
    """Absolute path of ``ffmpeg`` or ``ffprobe``. Raises AudioToolsMissing."""
    path = shutil.which(name)
    if path is None:
        raise AudioToolsMissing(f"{name} is missing, so no audio file can be read or written. {INSTALL}")
    return str(Path(path).absolute())


@contextlib.contextmanager
def private_file(data: bytes) -> Iterator[str]:
    """A file that only this user can read, gone afterwards. Its name tells ffmpeg nothing: the content alone decides what it is."""
    with tempfile.TemporaryDirectory(prefix="engine-audio-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "upload"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        yield str(path)


def run(tool: str, arguments: list[str], sink: Callable[[bytes], None], limits: Limits) -> Outcome:
    """Runs ``ffmpeg`` or ``ffprobe``, hands its standard output to ``sink`` piece by piece, and returns when it has ended.

    Nothing of it outlives the call, whatever is raised. Raises AudioToolsMissing.
    """
    numbers = (str(limits.cpu_s), str(limits.memory_bytes >> 10))
    command = ["/bin/sh", "-c", _LAUNCH, "sh", *numbers, find_tool(tool), *arguments]
    process = subprocess.Popen(  # noqa: S603  the shell's script is fixed; only its arguments vary, and of those the path to the private file
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "AV_LOG_FORCE_NOCOLOR": "1"},
        cwd=tempfile.gettempdir(),
        start_new_session=True,
    )
    stopped: Literal["time", "output"] | None = None
    stderr = bytearray()
    try:
        stopped = _pump(process, sink, stderr, limits)
        if stopped is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5.0)  # both pipes are closed: it is about to end
    finally:
        # The group outlives its leader as long as any member runs; an empty one is no error.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    if stopped is None and process.returncode in {-signal.SIGKILL, -signal.SIGXCPU}:
        stopped = "time"  # the kernel ended it: CPU time was over
    return Outcome(process.returncode, stderr.decode("utf-8", "replace"), stopped)


def _pump(
    process: subprocess.Popen[bytes], sink: Callable[[bytes], None], stderr: bytearray, limits: Limits
) -> Literal["time", "output"] | None:
    """Reads both pipes until they close or a limit is reached."""
    assert process.stdout is not None
    assert process.stderr is not None
    deadline = time.monotonic() + limits.wall_s
    received = 0
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(process.stderr, selectors.EVENT_READ)
        while selector.get_map():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return "time"
            for key, _ in selector.select(left_s):
                piece = os.read(key.fd, _CHUNK_BYTES)
                if not piece:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stderr:
                    stderr += piece[: _STDERR_BYTES - len(stderr)]
                else:
                    received += len(piece)
                    if received > limits.output_bytes:
                        return "output"
                    sink(piece)
    return None
