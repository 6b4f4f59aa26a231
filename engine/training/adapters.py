"""Low-rank adapters (LoRA, arXiv 2106.09685) on a language model's matrices: attached, dialled, saved, merged.

::

    y = x Wᵀ + strength · (alpha / rank) · (dropout(x) Aᵀ) Bᵀ        A (rank, in), B (out, rank), B zero at first

Our matrices are stacked (q, k and v are one); each part has its own A and B, as if it were apart, so that a saved adapter is
PEFT's for transformers' ``MusicgenForConditionalGeneration``, and PEFT's loads here::

    here                       on disk (PEFT's names)
    self_attention.qkv     ─▶  …layers.0.self_attn.{q,k,v}_proj.lora_{A,B}.weight
    up                     ─▶  …layers.0.fc1.lora_{A,B}.weight

Not here: training them (``finetune``), checkpoints as such (``engine.musicgen.checkpoint``), takes that hear them
(``engine.musicgen.adapter``).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.files import write_atomically, write_json
from engine.musicgen import adapter as served
from engine.musicgen.model import LanguageModel

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
TARGETS = {  # here: the parts that its rows stack, in transformers' names
    "self_attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention.out": ("self_attn.out_proj",),
    "text_attention.query": ("encoder_attn.q_proj",),
    "text_attention.key_value": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "text_attention.out": ("encoder_attn.out_proj",),
    "up": ("fc1",),
    "down": ("fc2",),
}
"""audiocraft stacks q, k and v too, and a LoRA that looks for layers by name misses them: here each part counts."""
_ON_DISK = "base_model.model.decoder.model.decoder.layers."


class AdapterError(ValueError):
    """An adapter can't be read, or does not fit the model; the message says why."""


@dataclass(frozen=True, slots=True)
class AdapterShape:
    """Size of the low-rank matrices. ``alpha / rank`` scales what they add; ``dropout`` acts on their input while training."""

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1:
            raise ValueError(f"rank {self.rank}, alpha {self.alpha}, dropout {self.dropout}: rank ≥ 1, alpha > 0, dropout in [0, 1)")


class AdaptedLinear(nn.Module):
    """A frozen linear layer and what its adapter adds. Takes the layer's place in the model, and gives it back."""

    def __init__(self, base: nn.Linear, parts: int, shape: AdapterShape) -> None:
        super().__init__()
        assert base.out_features % parts == 0
        self.base, self.parts, self.shape = base, parts, shape
        self.strength = 1.0
        device = base.weight.device
        # float32 whatever the base has: steps of 1e-4 are lost in bfloat16.
        self.lora_A = nn.Parameter(torch.empty(parts * shape.rank, base.in_features, device=device))
        self.lora_B = nn.Parameter(torch.zeros(parts, base.out_features // parts, shape.rank, device=device))
        for part in self.lora_A.data.chunk(parts):
            nn.init.kaiming_uniform_(part, a=math.sqrt(5))  # as PEFT does

    @property
    def weight(self) -> Tensor:
        """The base's weight: for code that asks a layer for its type or device."""
        return self.base.weight

    @property
    def scale(self) -> float:
        return self.strength * self.shape.alpha / self.shape.rank

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x)  # (..., out)
        return y if self.strength == 0 else y + self._delta(x).to(y.dtype)

    def _delta(self, x: Tensor) -> Tensor:
        if self.training and self.shape.dropout:
            x = F.dropout(x, self.shape.dropout)
        h = F.linear(x.to(self.lora_A.dtype), self.lora_A)  # (..., P · r)
        h = h * self.scale
        if self.parts == 1:
            return F.linear(h, self.lora_B[0])  # (..., out)
        return torch.cat([F.linear(part, b) for part, b in zip(h.chunk(self.parts, -1), self.lora_B, strict=True)], -1)

    def delta_weight(self) -> Tensor:
        """What the adapter adds to the weight ``(out, in)`` at its present strength."""
        parts = zip(self.lora_B, self.lora_A.chunk(self.parts), strict=True)
        return self.scale * torch.cat([b @ a for b, a in parts])


class Adapter:
    """All the adapted layers of one model. Made by ``attach``; ``detach`` leaves the model as it was."""

    def __init__(self, lm: LanguageModel, shape: AdapterShape) -> None:
        self.lm, self.shape = lm, shape
        self.layers: dict[str, AdaptedLinear] = {}
        for name, base in list(_targets(lm)):
            adapted = AdaptedLinear(base, len(TARGETS[_in_layer(name)]), shape)
            _put(lm, name, adapted)
            self.layers[name] = adapted

    @property
    def strength(self) -> float:
        """0 is the base, 1 the finetune as trained; up to 1.5 exaggerates."""
        return next(iter(self.layers.values())).strength

    @strength.setter
    def strength(self, value: float) -> None:
        for layer in self.layers.values():
            layer.strength = value

    def parameters(self) -> list[nn.Parameter]:
        """What is trained, in a fixed order."""
        return [p for layer in self.layers.values() for p in (layer.lora_A, layer.lora_B)]

    def train(self, mode: bool = True) -> None:
        """Dropout on or off; the base has none."""
        for layer in self.layers.values():
            layer.training = mode

    def detach(self) -> None:
        """Give the model its own layers back."""
        for name, layer in self.layers.items():
            _put(self.lm, name, layer.base)

    @torch.no_grad()
    def merge(self) -> None:
        """Add the adapter to the base's weights, for good, and detach."""
        for layer in self.layers.values():
            layer.base.weight += layer.delta_weight().to(layer.base.weight.dtype)
        self.detach()

    def state(self) -> dict[str, Tensor]:
        """Tensors under PEFT's names, each part apart."""
        tensors = {}
        for name, layer in self.layers.items():
            for part, a, b in zip(_on_disk(name), layer.lora_A.chunk(layer.parts), layer.lora_B, strict=True):
                tensors[f"{part}.lora_A.weight"] = a.detach()
                tensors[f"{part}.lora_B.weight"] = b.detach()
        return tensors

    @torch.no_grad()
    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of ``state``. Raises AdapterError for what is missing, of another size, or unknown."""
        _require_fit(
            {name: list(tensor.shape) for name, tensor in tensors.items()},
            {name: list(tensor.shape) for name, tensor in self.state().items()},
        )
        for name, layer in self.layers.items():
            for part, a, b in zip(_on_disk(name), layer.lora_A.chunk(layer.parts), layer.lora_B, strict=True):
                a.copy_(tensors[f"{part}.lora_A.weight"])
                b.copy_(tensors[f"{part}.lora_B.weight"])


def attach(lm: LanguageModel, shape: AdapterShape | None = None) -> Adapter:
    """Put an adapter that does nothing yet on all matrices of all layers (q, k, v, out, FFN). Draws from torch's global generator."""
    return Adapter(lm, shape or AdapterShape())


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """What an adapter's folder says of it beside the tensors. ``base_sha256``: of the weights that it was trained on."""

    shape: AdapterShape
    base: str
    base_sha256: str


def save(adapter: Adapter, folder: Path, *, base: str, base_sha256: str) -> None:
    """Write PEFT's two files. ``base``: the checkpoint's name for a reader."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.cpu().contiguous().clone() for name, tensor in adapter.state().items()}
    facts = {"format": "pt", "base_sha256": base_sha256}
    write_atomically(folder / WEIGHTS_FILE, lambda path: save_file(tensors, path, facts))
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "r": adapter.shape.rank,
        "lora_alpha": adapter.shape.alpha,
        "lora_dropout": adapter.shape.dropout,
        "target_modules": sorted({part.rpartition(".")[2] for parts in TARGETS.values() for part in parts}),
        "bias": "none",
        "inference_mode": True,
    }
    write_json(folder / CONFIG_FILE, config)


def read_facts(folder: Path) -> AdapterFacts:
    """Raises AdapterError where the folder holds no adapter of this kind."""
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        odd = [config.get(name) for name in ("use_dora", "use_rslora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "lora_bias")]
        if config.get("peft_type") != "LORA" or any(odd) or config.get("bias", "none") != "none":
            raise AdapterError(
                f"{folder} holds a {config.get('peft_type')} adapter of a kind that can't be used here: plain LoRA is needed"
            )
        shape = AdapterShape(int(config["r"]), float(config["lora_alpha"]), float(config.get("lora_dropout", 0)))
        with safe_open(folder / WEIGHTS_FILE, "pt") as file:
            base_sha256 = (file.metadata() or {}).get("base_sha256", "")
        return AdapterFacts(shape, str(config.get("base_model_name_or_path")), base_sha256)
    except AdapterError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise AdapterError(f"the adapter in {folder} can't be read ({type(error).__name__}): copy the adapter again") from error


def load(lm: LanguageModel, folder: Path, *, base_sha256: str | None = None) -> Adapter:
    """Attach the adapter of ``folder``. Raises AdapterError; ``base_sha256``, where given, must be the one that it was trained on."""
    facts = _facts_for(folder, base_sha256)
    try:
        with safe_open(folder / WEIGHTS_FILE, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError) as error:
        raise AdapterError(f"{folder / WEIGHTS_FILE} can't be read: copy the adapter again") from error
    adapter = attach(lm, facts.shape)
    try:
        adapter.load_state(tensors)
    except AdapterError:
        adapter.detach()
        raise
    adapter.train(False)
    return adapter


def read(lm: LanguageModel, folder: Path, *, base_sha256: str | None = None) -> served.Adapter:
    """The adapter of ``folder``, to be heard beside ``lm``, which stays as it is. Raises AdapterError as ``load`` does."""
    facts = _facts_for(folder, base_sha256)
    rank, scale = facts.shape.rank, facts.shape.alpha / facts.shape.rank
    targets = dict(_targets(lm))
    wanted: dict[str, list[int]] = {}
    for name, base in targets.items():
        parts = _on_disk(name)
        for part in parts:
            wanted[f"{part}.lora_A.weight"] = [rank, base.in_features]
            wanted[f"{part}.lora_B.weight"] = [base.out_features // len(parts), rank]
    layers: list[dict[str, served.LowRank]] = [{} for _ in lm.layers]
    try:
        with safe_open(folder / WEIGHTS_FILE, "pt") as file:
            names = file.keys()
            _require_fit({name: file.get_slice(name).get_shape() for name in names}, wanted)
            for name in targets:
                a = torch.cat([file.get_tensor(f"{part}.lora_A.weight").float() for part in _on_disk(name)])
                b = torch.stack([file.get_tensor(f"{part}.lora_B.weight").float() * scale for part in _on_disk(name)])
                if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
                    raise AdapterError(f"{name} holds numbers that are none: train the adapter again")
                layers[int(name.split(".", 2)[1])][_in_layer(name)] = served.LowRank(a, b)
        with (folder / WEIGHTS_FILE).open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, SafetensorError) as error:
        raise AdapterError(f"{folder / WEIGHTS_FILE} can't be read: copy the adapter again") from error
    try:
        return served.Adapter(layers, sha256=sha256)
    except ValueError as error:
        raise AdapterError(str(error)) from error


def _facts_for(folder: Path, base_sha256: str | None) -> AdapterFacts:
    facts = read_facts(folder)
    if base_sha256 and facts.base_sha256 and base_sha256 != facts.base_sha256:
        raise AdapterError(
            f"{folder.name} was trained on {facts.base} ({facts.base_sha256[:12]}…), and this is another model ({base_sha256[:12]}…)"
        )
    return facts


def _require_fit(found: Mapping[str, list[int]], wanted: Mapping[str, list[int]]) -> None:
    """Shapes by name, in PEFT's names. Raises AdapterError for what is missing, unknown or of another size."""
    if missing := sorted(wanted.keys() - found.keys()):
        raise AdapterError(f"the adapter lacks {missing[0]}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""))
    if unknown := sorted(found.keys() - wanted.keys()):
        raise AdapterError(f"the adapter has {unknown[0]}, for which the model has no place: it was trained on another kind of model")
    for name, shape in wanted.items():
        if found[name] != shape:
            raise AdapterError(f"{name} is {found[name]} where the model needs {shape}: it fits another model")


def _targets(lm: LanguageModel) -> Iterator[tuple[str, nn.Linear]]:
    for index, layer in enumerate(lm.layers):
        for target in TARGETS:
            base = layer.get_submodule(target)
            if not isinstance(base, nn.Linear):
                raise AdapterError(f"layers.{index}.{target} is a {type(base).__name__}: an adapter goes on a plain model, once")
            yield f"layers.{index}.{target}", base


def _in_layer(name: str) -> str:
    return name.split(".", 2)[2]


def _on_disk(name: str) -> list[str]:
    index = name.split(".", 2)[1]
    return [f"{_ON_DISK}{index}.{part}" for part in TARGETS[_in_layer(name)]]


def _put(lm: LanguageModel, name: str, module: nn.Module) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(lm.get_submodule(parent), attribute, module)
