"""The command line: ``generate``, ``continue``, ``surprise``, ``serve``, ``checkpoints``, ``crate``, ``finetune``, ``finetune-plot``,
``evaluate``, ``experiment``, ``analyse``, ``bench``, ``analyse-bench``, ``finetune-bench``, ``pocket``.

Only argparse is imported until a command runs, so that ``--help`` is there at once. Exit codes: 0 done, 1 it broke, 2 the input was bad,
130 stopped by Ctrl-C. An error is one line on stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

from engine.cli.arguments import parse


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["pocket"]:
        return _pocket(words[1:])
    if words[:1] == ["bench"]:
        return _bench(words[1:])
    if words[:1] == ["analyse-bench"]:
        return _analyse_bench(words[1:])
    if words[:1] == ["finetune-bench"]:
        return _finetune_bench(words[1:])
    arguments = parse(words)
    try:
        code: int = arguments.run(arguments)
    except (Exception, KeyboardInterrupt) as error:
        return _tell(error, as_json=getattr(arguments, "json", False))
    return code


def _tell(error: BaseException, *, as_json: bool) -> int:
    """One line for a person, one object for a machine; the exit code. Raises what is nobody's mistake but ours when debugging."""
    from engine.errors import EngineError
    from engine.settings import SettingsError

    code: str = "internal"
    message, exit_code = str(error), 1
    if isinstance(error, KeyboardInterrupt):
        code, message, exit_code = "cancelled", "Stopped; nothing was written.", 130
    elif isinstance(error, EngineError):
        code = error.code
        exit_code = 2 if code in ("bad_request", "bad_audio", "unknown_checkpoint", "too_large") else 1
    elif isinstance(error, SettingsError):
        code, exit_code = "bad_request", 2
    elif isinstance(error, OSError):
        message = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    else:
        if os.environ.get("ENGINE_LOG_LEVEL", "").upper() == "DEBUG":
            raise error
        message = f"Something broke ({type(error).__name__}: {error}). ENGINE_LOG_LEVEL=DEBUG shows where."
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": {"code": code, "message": message}}, ensure_ascii=False))
    return exit_code


def _pocket(words: Sequence[str]) -> int:
    from engine.pocket.__main__ import main as pocket

    return int(pocket(list(words)) or 0)


def _bench(words: Sequence[str]) -> int:
    from engine.bench import main as bench

    try:
        return bench(words)
    except KeyboardInterrupt as error:
        return _tell(error, as_json="--json" in words)


def _analyse_bench(words: Sequence[str]) -> int:
    from engine.music.analysis.bench import main as bench

    try:
        return bench(words)
    except KeyboardInterrupt as error:
        return _tell(error, as_json="--json" in words)


def _finetune_bench(words: Sequence[str]) -> int:
    from engine.training.bench import main as bench

    try:
        return bench(words)
    except KeyboardInterrupt as error:
        return _tell(error, as_json="--json" in words)
