"""One contender of ``finetune-bench`` in a process of its own: ``python -m engine.training.bench_contenders NAME JOB``.

::

    stdin   a line each: do a step
    stdout  {"ready": …} when loaded, then for each step {"seconds", "loss", "peak_bytes", "before_bytes"}

Both begin from the same weights and the same adapter, hear the same batch, and do all of a step: loss, gradients, clipping, AdamW.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

BETAS, RATE, WEIGHT_DECAY, CLIP_NORM = (0.9, 0.95), 1e-4, 0.01, 1.0
PROMPT = "dark driving techno at 130 bpm"
Loss = Callable[[], Tensor]


def ours(folder: Path, adapter: Path, codes: Tensor) -> tuple[Loss, list[nn.Parameter]]:
    """Codes ``[B, K, T]``. As ``finetune`` does it."""
    from engine.musicgen import checkpoint
    from engine.training import adapters
    from engine.training.lean import lean
    from engine.training.losses import collate, cross_entropy
    from engine.training.segments import Rows, Segment

    model = checkpoint.load(folder)
    learned = adapters.load(model.lm, adapter)
    learned.train()
    rows = Rows(tuple(Segment(str(i), str(i), own, PROMPT) for i, own in enumerate(codes)), (PROMPT,) * len(codes))
    return lambda: cross_entropy(lean(model.lm), collate(rows, model.lm, model.conditioner)).mean(), learned.parameters()


def transformers(folder: Path, adapter: Path, codes: Tensor) -> tuple[Loss, list[nn.Parameter]]:
    """Codes ``[B, K, T]``. ``MusicgenForConditionalGeneration`` under PEFT, its default attention; no cache, as nothing is generated."""
    from peft import PeftModel
    from transformers import AutoTokenizer, MusicgenForConditionalGeneration

    from engine.musicgen.checkpoint import quiet_transformers
    from engine.musicgen.delay import apply_delay

    with quiet_transformers():
        base = MusicgenForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        tokens = AutoTokenizer.from_pretrained(folder)([PROMPT] * len(codes), return_tensors="pt")
    model: Any = PeftModel.from_pretrained(base, adapter, is_trainable=True).train()
    pad = base.config.decoder.pad_token_id
    base.config.decoder.decoder_start_token_id = pad  # it shifts labels by this, and lacks it since version 5
    labels = apply_delay(codes, pad, tuple(range(codes.shape[1])))[:, :, 1:].transpose(1, 2)  # (B, S, K): it shifts them itself

    def loss() -> Tensor:
        found: Tensor = model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, labels=labels, use_cache=False).loss
        return found

    return loss, [parameter for parameter in model.parameters() if parameter.requires_grad]


def _work(job: dict[str, Any], contender: Callable[..., tuple[Loss, list[nn.Parameter]]]) -> None:
    torch.set_num_threads(job["threads"])
    codes = torch.randint(0, job["card"], (job["batch"], job["codebooks"], job["frames"]), generator=torch.Generator().manual_seed(1))
    loss_of, parameters = contender(Path(job["folder"]), Path(job["adapter"]), codes)
    optimizer = torch.optim.AdamW(parameters, lr=RATE, betas=BETAS, weight_decay=WEIGHT_DECAY)
    _tell(ready=True, trained=sum(parameter.numel() for parameter in parameters))
    before = _resident()
    _forget_peak()
    for _line in sys.stdin:
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimizer.step()
        _tell(seconds=time.perf_counter() - began, loss=float(loss.detach()), peak_bytes=_peak(), before_bytes=before)


def _tell(**line: Any) -> None:
    print(json.dumps(line), flush=True)


def _status(name: str) -> int | None:
    """Bytes, of Linux's own account of this process."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)


def _forget_peak() -> None:
    """From here on: loading is over, and had a peak of its own."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def _peak() -> int:
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _resident() -> int:
    return _status("VmRSS") or _peak()


CONTENDERS = {"ours": ours, "transformers": transformers}

if __name__ == "__main__":
    _work(json.loads(sys.argv[2]), CONTENDERS[sys.argv[1]])
