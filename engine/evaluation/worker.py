"""One evaluation in a process of its own: ``python -m engine.evaluation.worker``, a job on stdin, lines of JSON on stdout.

::

    {"reference": {name: path …}, "candidate": …, "training": …, "embedder": …, "prompt": …, "seed": …}
      ─▶ {"done": 3, "of": 120}      after each file
      ─▶ {"report": {…}}  or  {"error": "a sentence", "code": "bad_audio"}

It is niced and uses one thread, so that takes and cards beside it don't wait. Who starts it is ``desk``.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Ends with 0 whatever becomes of the job; anything else is our mistake, and its traceback is on stderr."""
    job = json.load(sys.stdin)
    with contextlib.suppress(OSError, AttributeError):
        os.nice(10)

    import torch

    from engine.evaluation.embeddings import EmbedderUnavailable, embedder
    from engine.evaluation.report import EvaluationError, Sound, evaluate, of_bytes

    def sounds(named: dict[str, str]) -> list[Sound]:
        return [of_bytes(name, Path(path).read_bytes) for name, path in named.items()]

    torch.set_num_threads(1)
    try:
        report = evaluate(
            sounds(job["reference"]),
            sounds(job["candidate"]),
            sounds(job["training"]),
            embedder=embedder(job["embedder"]),
            prompt=job["prompt"],
            seed=job["seed"],
            tell=lambda done, of: _tell({"done": done, "of": of}),
        )
    except EmbedderUnavailable as error:
        _tell({"error": str(error), "code": "bad_request"})
    except EvaluationError as error:
        _tell({"error": str(error), "code": "bad_audio"})
    else:
        _tell({"report": report.record()})


def _tell(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
