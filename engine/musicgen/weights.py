"""What each weight is called: here, in transformers and in audiocraft. Pure maps of names to tensors; no files.

Here, what is multiplied with the same input is one matrix::

    transformers                              here                        audiocraft
    layers.0.self_attn.{q,k,v}_proj           layers.0.self_attention.qkv layers.0.self_attn.in_proj_weight
    layers.0.encoder_attn.{k,v}_proj          …text_attention.key_value   …cross_attention.in_proj_weight (with q)
    embed_tokens.{0…K−1}                      embeddings                  emb.{0…K−1}
    lm_heads.{0…K−1}                          heads                       linears.{0…K−1}

transformers' names are the form on disk; everything goes through them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

Weights = dict[str, Tensor]

_DECODER = "model.decoder."
_SAME_IN_LAYER = {  # here: transformers
    "self_attention.out": "self_attn.out_proj",
    "text_attention.query": "encoder_attn.q_proj",
    "text_attention.out": "encoder_attn.out_proj",
    "up": "fc1",
    "down": "fc2",
    "self_norm": "self_attn_layer_norm",
    "text_norm": "encoder_attn_layer_norm",
    "ffn_norm": "final_layer_norm",
}
_FUSED_IN_LAYER = {  # here: transformers, in the order in which they are stacked
    "self_attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "text_attention.key_value": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
}
_AUDIOCRAFT_IN_LAYER = {  # audiocraft: transformers
    "self_attn.out_proj": "self_attn.out_proj",
    "cross_attention.out_proj": "encoder_attn.out_proj",
    "linear1": "fc1",
    "linear2": "fc2",
    "norm1": "self_attn_layer_norm",
    "norm_cross": "encoder_attn_layer_norm",
    "norm2": "final_layer_norm",
}
_AUDIOCRAFT_PROJECTION = "condition_provider.conditioners.description.output_proj."


class MissingWeights(KeyError):
    """A checkpoint lacks weights that its configuration needs: ``names``."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"missing: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}")
        self.names = names


def lm_from_transformers(weights: Mapping[str, Tensor], *, num_codebooks: int, num_layers: int) -> Weights:
    """transformers' decoder (names from ``model.decoder.`` and ``lm_heads.`` on) -> ``LanguageModel``'s state.

    Raises MissingWeights. What is there beyond the need (old files hold the table of positions) is left.
    """
    fused = _fused_names(num_codebooks, num_layers)
    missing = [name for names in fused.values() for name in names if name not in weights]
    if missing:
        raise MissingWeights(missing)
    return {here: torch.cat([weights[name] for name in names]) if len(names) > 1 else weights[names[0]] for here, names in fused.items()}


def lm_to_transformers(weights: Mapping[str, Tensor], *, num_codebooks: int, num_layers: int) -> Weights:
    """The way back: ``LanguageModel``'s state -> transformers' decoder."""
    result: Weights = {}
    for here, names in _fused_names(num_codebooks, num_layers).items():
        parts = weights[here].chunk(len(names))
        result.update({name: part.contiguous().clone() for name, part in zip(names, parts, strict=True)})
    return result


def _fused_names(num_codebooks: int, num_layers: int) -> dict[str, list[str]]:
    """Each name here, and the names in transformers whose rows it stacks."""
    codebooks = range(num_codebooks)
    names = {
        "embeddings.weight": [f"{_DECODER}embed_tokens.{k}.weight" for k in codebooks],
        "heads.weight": [f"lm_heads.{k}.weight" for k in codebooks],
        "norm.weight": [f"{_DECODER}layer_norm.weight"],
        "norm.bias": [f"{_DECODER}layer_norm.bias"],
    }
    for index in range(num_layers):
        there = f"{_DECODER}layers.{index}."
        for here, name in _SAME_IN_LAYER.items():
            for kind in ("weight", "bias") if here.endswith("norm") else ("weight",):
                names[f"layers.{index}.{here}.{kind}"] = [f"{there}{name}.{kind}"]
        for here, parts in _FUSED_IN_LAYER.items():
            names[f"layers.{index}.{here}.weight"] = [f"{there}{part}.weight" for part in parts]
    return names


def lm_from_audiocraft(weights: Mapping[str, Tensor]) -> tuple[Weights, Weights]:
    """audiocraft's LMModel -> transformers' decoder, and the projection of the text (``weight``, ``bias``).

    Raises ValueError for a weight that MusicGen's text models do not have (melody, style, biases).
    """
    decoder: Weights = {}
    projection: Weights = {}
    for name, tensor in weights.items():
        if name.startswith(_AUDIOCRAFT_PROJECTION):
            projection[name.removeprefix(_AUDIOCRAFT_PROJECTION)] = tensor
        elif match := re.fullmatch(r"transformer\.layers\.(\d+)\.(self_attn|cross_attention)\.in_proj_weight", name):
            there = f"{_DECODER}layers.{match[1]}.{'self_attn' if match[2] == 'self_attn' else 'encoder_attn'}"
            decoder.update({f"{there}.{part}_proj.weight": rows for part, rows in zip("qkv", tensor.chunk(3), strict=True)})
        elif (match := re.fullmatch(r"transformer\.layers\.(\d+)\.(.+)\.(weight|bias)", name)) and match[2] in _AUDIOCRAFT_IN_LAYER:
            decoder[f"{_DECODER}layers.{match[1]}.{_AUDIOCRAFT_IN_LAYER[match[2]]}.{match[3]}"] = tensor
        elif match := re.fullmatch(r"emb\.(\d+)\.weight", name):
            decoder[f"{_DECODER}embed_tokens.{match[1]}.weight"] = tensor
        elif match := re.fullmatch(r"linears\.(\d+)\.weight", name):
            decoder[f"lm_heads.{match[1]}.weight"] = tensor
        elif match := re.fullmatch(r"out_norm\.(weight|bias)", name):
            decoder[f"{_DECODER}layer_norm.{match[1]}"] = tensor
        else:
            raise ValueError(f"{name!r} is no weight of a MusicGen that takes text only")
    return decoder, projection


def lm_to_audiocraft(decoder: Mapping[str, Tensor], projection: Mapping[str, Tensor]) -> Weights:
    """transformers' decoder and the projection of the text -> audiocraft's LMModel."""
    in_layer = {there: here for here, there in _AUDIOCRAFT_IN_LAYER.items()}
    result = {f"{_AUDIOCRAFT_PROJECTION}{name}": tensor for name, tensor in projection.items()}
    for name, tensor in decoder.items():
        if match := re.fullmatch(r"model\.decoder\.layers\.(\d+)\.(self_attn|encoder_attn)\.q_proj\.weight", name):
            parts = [decoder[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            there = "self_attn" if match[2] == "self_attn" else "cross_attention"
            result[f"transformer.layers.{match[1]}.{there}.in_proj_weight"] = torch.cat(parts)
        elif re.fullmatch(r"model\.decoder\.layers\.\d+\.(self_attn|encoder_attn)\.[kv]_proj\.weight", name):
            continue  # went with q
        elif match := re.fullmatch(r"model\.decoder\.layers\.(\d+)\.(.+)\.(weight|bias)", name):
            result[f"transformer.layers.{match[1]}.{in_layer[match[2]]}.{match[3]}"] = tensor
        elif match := re.fullmatch(r"model\.decoder\.embed_tokens\.(\d+)\.weight", name):
            result[f"emb.{match[1]}.weight"] = tensor
        elif match := re.fullmatch(r"lm_heads\.(\d+)\.weight", name):
            result[f"linears.{match[1]}.weight"] = tensor
        elif match := re.fullmatch(r"model\.decoder\.layer_norm\.(weight|bias)", name):
            result[f"out_norm.{match[1]}"] = tensor
        else:
            raise ValueError(f"{name!r} has no counterpart in audiocraft")
    return result


_CODEC_RULES = [  # audiocraft's EnCodec: transformers' EnCodec
    (r"quantizer\.vq\.layers\.(\d+)\._codebook\.(.+)", r"quantizer.layers.\1.codebook.\2"),
    (r"(encoder|decoder)\.model\.(\d+\.(?:block\.\d+\.|shortcut\.)?)(?:conv\.conv|convtr\.convtr)\.(.+)", r"\1.layers.\2conv.\3"),
    (r"(encoder|decoder)\.model\.(\d+)\.lstm\.(.+)", r"\1.layers.\2.lstm.\3"),
]
_WEIGHT_NORM = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}


def codec_from_audiocraft(weights: Mapping[str, Tensor]) -> Weights:
    """audiocraft's EncodecModel -> transformers'. Raises ValueError for a weight that EnCodec does not have."""
    result: Weights = {}
    for name, tensor in weights.items():
        for pattern, replacement in _CODEC_RULES:
            if re.fullmatch(pattern, name):
                result[_rename_tail(re.sub(pattern, replacement, name), _WEIGHT_NORM)] = tensor
                break
        else:
            raise ValueError(f"{name!r} is no weight of an EnCodec")
    return result


def codec_to_audiocraft(weights: Mapping[str, Tensor], *, transposed: set[str]) -> Weights:
    """transformers' EncodecModel -> audiocraft's. ``transposed``: prefixes of transposed convolutions, ``decoder.layers.3.``"""
    back = {there: here for here, there in _WEIGHT_NORM.items()}
    result: Weights = {}
    for name, tensor in weights.items():
        renamed = _rename_tail(name, back)
        renamed = re.sub(r"^quantizer\.layers\.(\d+)\.codebook\.", r"quantizer.vq.layers.\1._codebook.", renamed)
        renamed = re.sub(r"^(encoder|decoder)\.layers\.", r"\1.model.", renamed)
        kind = "convtr" if any(name.startswith(prefix) for prefix in transposed) else "conv"
        result[re.sub(r"\.conv\.", f".{kind}.{kind}.", renamed)] = tensor
    return result


def _rename_tail(name: str, tails: Mapping[str, str]) -> str:
    for tail, replacement in tails.items():
        if name.endswith(tail):
            return name.removesuffix(tail) + replacement
    return name
