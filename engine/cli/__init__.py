"""The command line: ``generate``, ``continue``, ``surprise``, ``serve``, ``checkpoints``, ``pocket``.

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
    arguments = parse(words)

    from engine.errors import EngineError
    from engine.settings import SettingsError

    as_json = getattr(arguments, "json", False)
    try:
        code: int = arguments.run(arguments)
    except KeyboardInterrupt:
        return _failed("cancelled", "Stopped; nothing was written.", 130, as_json=as_json)
    except EngineError as error:
        bad_input = error.code in ("bad_request", "bad_audio", "unknown_checkpoint", "too_large")
        return _failed(error.code, error.message, 2 if bad_input else 1, as_json=as_json)
    except SettingsError as error:
        return _failed("bad_request", str(error), 2, as_json=as_json)
    except OSError as error:
        reason = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        return _failed("internal", reason, 1, as_json=as_json)
    except Exception as error:
        if os.environ.get("ENGINE_LOG_LEVEL", "").upper() == "DEBUG":
            raise
        what = f"Something broke ({type(error).__name__}: {error}). ENGINE_LOG_LEVEL=DEBUG shows where."
        return _failed("internal", what, 1, as_json=as_json)
    return code


def _failed(code: str, message: str, exit_code: int, *, as_json: bool) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": {"code": code, "message": message}}, ensure_ascii=False))
    return exit_code


def _pocket(words: Sequence[str]) -> int:
    from engine.pocket.__main__ import main as pocket

    return int(pocket(list(words)) or 0)
