"""Training an adapter on a frozen base in less memory: what is cheap to compute again is not kept, what is frozen gets no gradient.

Of each token, a layer of width C keeps for the way back::

                        self-attention           text attention    feed-forward        numbers
    torch, as written   x, norm, q k v, mixed    x, norm, q, mixed   x, norm, 4C, 4C     20 C
    here                x, q k v, mixed          x, q, mixed         x, 4C               13 C

Norms and activations are made again from their inputs; the adapter's part is added in place, into rows of the base's product, instead of
being laid out beside it; dropout keeps one byte a number. Probabilities overwrite logits. The same sums in another order: results agree
to rounding, which tests/engine/training/test_lean.py holds.

Not here: the adapter itself (``adapters``), doing without activations altogether (``memory``).
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.musicgen.model import KVCache, LanguageModel, Layer, TextOfLayer
from engine.training.adapters import AdaptedLinear

Before = Literal["nothing", "norm", "gelu"]
"""What happens to a layer's input first, and is done again on the way back."""


def lean(lm: LanguageModel) -> LanguageModel:
    """The same model, whose layers from now on keep less where they carry an adapter. Calling it again changes nothing."""
    for layer in lm.layers:
        layer.forward = partial(_layer, layer)  # type: ignore[method-assign]
    return lm


def codebook_nats(lm: LanguageModel, states: Tensor, targets: Tensor) -> Tensor:
    """Last states ``(B, S, C)`` and codes ``(B, K, S)`` -> cross-entropy of each in nats ``(B, K, S)``, 0 where the code is ``lm.pad``."""
    if torch.is_autocast_enabled(states.device.type) or states.dtype != torch.float32:
        logits = lm.logits_of(states).float()  # (B, K, S, card)
        nats = F.cross_entropy(logits.flatten(0, 2), targets.flatten(), ignore_index=lm.pad, reduction="none")
        return nats.view(targets.shape)
    found: Tensor = _CodebookNats.apply(states, lm.heads.weight, targets, lm.pad)
    return found


def _layer(layer: Layer, x: Tensor, text: TextOfLayer, cache: KVCache | None, start: int) -> Tensor:
    """``Layer.forward``."""
    qkv, out, query, text_out = layer.self_attention.qkv, layer.self_attention.out, layer.text_attention.query, layer.text_attention.out
    up, down = layer.up, layer.down
    adapted = all(isinstance(part, AdaptedLinear) for part in (qkv, out, query, text_out, up, down))
    plain = not adapted or cache is not None or layer.activation is not F.gelu or x.dtype != qkv.weight.dtype or x.dtype != torch.float32
    if plain or torch.is_autocast_enabled(x.device.type):
        return type(layer).forward(layer, x, text, cache, start)
    B, S, C = x.shape
    heads = layer.self_attention.heads
    own = _through(x, qkv, "norm", layer.self_norm).view(B, S, 3, heads, C // heads)
    q, k, v = own.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, H, S, D)
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=S > 1)  # (B, H, S, D)
    x = x + _through(mixed.transpose(1, 2).reshape(B, S, C), out)
    keys, values, mask = text
    q = _through(x, query, "norm", layer.text_norm).view(B, S, heads, C // heads).transpose(1, 2)  # (B, H, S, D)
    mixed = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)  # (B, H, S, D)
    x = x + _through(mixed.transpose(1, 2).reshape(B, S, C), text_out)
    return x + _through(_through(x, up, "norm", layer.ffn_norm), down, "gelu")


def _through(x: Tensor, layer: Any, before: Before = "nothing", norm: nn.LayerNorm | None = None) -> Tensor:
    """(B, S, in) -> (B, S, out)"""
    dropout = layer.shape.dropout if layer.training and layer.strength else 0.0
    weight, bias, eps = (norm.weight, norm.bias, norm.eps) if norm is not None else (None, None, 0.0)
    scale = layer.scale if layer.strength else 0.0
    rows = x.reshape(-1, x.shape[-1])  # (N, in)
    y: Tensor = _LowRank.apply(rows, before, weight, bias, eps, layer.base.weight, layer.lora_A, layer.lora_B, scale, dropout)
    return y.view(*x.shape[:-1], -1)


class _LowRank(torch.autograd.Function):
    """z = norm(x), gelu(x) or x;  y = z Wᵀ + scale · (dropout(z) Aᵀ) Bᵀ, part by part. Gradients for x, A and B alone."""

    @staticmethod
    def forward(  # noqa: PLR0917  autograd calls it so
        ctx: Any, x: Tensor, before: Before, norm_weight: Tensor | None, norm_bias: Tensor | None, eps: float, weight: Tensor, a: Tensor,
        b: Tensor, scale: float, dropout: float,
    ) -> Tensor:  # fmt: skip
        mean = rstd = keep = h = None
        z = x
        if before == "norm":
            z, mean, rstd = torch.native_layer_norm(x, x.shape[-1:], norm_weight, norm_bias, eps)
        elif before == "gelu":
            z = F.gelu(x)
        y = z @ weight.T  # (N, out)
        if scale:
            if dropout:
                keep = torch.empty(z.shape, dtype=torch.bool, device=z.device).bernoulli_(1 - dropout)
                z = z * keep / (1 - dropout)
            h = z @ a.T  # (N, P · r)
            for rows, hidden, part in zip(y.chunk(len(b), 1), h.chunk(len(b), 1), b, strict=True):
                rows.addmm_(hidden, part.T, alpha=scale)
        ctx.save_for_backward(x, norm_weight, norm_bias, mean, rstd, weight, a, b, h, keep)
        ctx.before, ctx.eps, ctx.scale, ctx.dropout = before, eps, scale, dropout
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        g: Tensor = grads[0]  # (N, out)
        x, norm_weight, norm_bias, mean, rstd, weight, a, b, h, keep = ctx.saved_tensors
        before: Before = ctx.before
        grad_x = g @ weight if ctx.needs_input_grad[0] else None  # (N, in): of z, as yet
        grad_a = grad_b = None
        if ctx.scale:
            z = x
            if before == "norm":
                z = torch.native_layer_norm(x, x.shape[-1:], norm_weight, norm_bias, ctx.eps)[0]
            elif before == "gelu":
                z = F.gelu(x)
            if keep is not None:
                z = z * keep / (1 - ctx.dropout)
            parts = list(zip(g.chunk(len(b), 1), h.chunk(len(b), 1), b, strict=True))
            grad_h = torch.cat([own @ part for own, _hidden, part in parts], 1) * ctx.scale  # (N, P · r)
            grad_a = grad_h.T @ z
            grad_b = torch.stack([own.T @ hidden for own, hidden, _part in parts]) * ctx.scale
            if grad_x is not None and keep is None:
                grad_x.addmm_(grad_h, a)
            elif grad_x is not None:
                grad_x += (grad_h @ a) * keep / (1 - ctx.dropout)
        if grad_x is not None and before == "norm":
            only_x = [True, False, False]
            grad_x = torch.ops.aten.native_layer_norm_backward(grad_x, x, x.shape[-1:], mean, rstd, norm_weight, norm_bias, only_x)[0]
        elif grad_x is not None and before == "gelu":
            grad_x = torch.ops.aten.gelu_backward(grad_x, x)
        return grad_x, None, None, None, None, None, grad_a, grad_b, None, None


class _CodebookNats(torch.autograd.Function):
    """Heads and cross-entropy in one, so that logits are laid out once and become probabilities in place."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, targets: Tensor, pad: int) -> Tensor:
        B, K, S = targets.shape
        logits = (states.reshape(B * S, -1) @ weight.T).view(B, S, K, -1)
        real = targets != pad  # (B, K, S)
        codes = targets.masked_fill(~real, 0).transpose(1, 2)  # (B, S, K)
        whole = logits.logsumexp(-1)  # (B, S, K)
        nats = whole - logits.gather(-1, codes[..., None])[..., 0]
        if any(ctx.needs_input_grad):
            ctx.probabilities = logits.sub_(whole[..., None]).exp_()
            ctx.save_for_backward(states, weight, codes, real)
        return nats.transpose(1, 2) * real  # (B, K, S)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        states, weight, codes, real = ctx.saved_tensors
        g = (grads[0] * real).transpose(1, 2)[..., None]  # (B, S, K, 1)
        wrong = ctx.probabilities
        ctx.probabilities = None  # overwritten: there is no second way back
        wrong.scatter_add_(-1, codes[..., None], wrong.new_full((1, 1, 1, 1), -1.0).expand(*codes.shape, 1))
        wrong *= g
        wrong = wrong.view(-1, weight.shape[0])  # (B · S, K · card)
        grad_states = (wrong @ weight).view(states.shape) if ctx.needs_input_grad[0] else None
        grad_weight = wrong.T @ states.reshape(len(wrong), -1) if ctx.needs_input_grad[1] else None
        return grad_states, grad_weight, None, None
