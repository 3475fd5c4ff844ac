# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""DLT, dual learnable ternarization (TernaryLLM, arXiv 2406.07177).

Input: float weights [N, K] with a scale and a shift per output row and group
of `group` weights along K, [N, G], G = ceil(K / group); the last group may be
shorter and its statistics are over real weights only. Output: ternary codes
and D = scale * T + shift. Invariant: scale and shift enter D rounded to f16,
as the checkpoint stores them.

    Delta = 0.7 * mean |W|            per group (TWN's threshold)
    T     = +1 if W > Delta, -1 if W < -Delta, else 0
    D     = scale * T + shift

Gradients, with Q = dL/dD: dscale = sum Q T, dshift = sum Q over the group, and
for W one of
    "identity"  Q                                   (default)
    "clipped"   Q where |W / scale| <= 1, else 0
    "ttq"       scale * Q where T != 0, else Q
The threshold is a constant in the backward pass.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

THRESHOLD = 0.7
GRADIENTS = ("identity", "clipped", "ttq")


def split_groups(x: Tensor, group: int) -> Tensor:
    """[N, K] -> [N, G, group], the last group padded with zeros."""
    rows, columns = x.shape
    padded = F.pad(x, (0, -columns % group))
    return padded.view(rows, -1, group)


def join_groups(x: Tensor, columns: int) -> Tensor:
    """[N, G, group] -> [N, columns], dropping the padding."""
    return x.reshape(x.shape[0], -1)[:, :columns]


def group_lengths(columns: int, group: int, like: Tensor) -> Tensor:
    """Real weights in each group, [G], in the type and place of `like`."""
    count = -(-columns // group)
    lengths = torch.full((count,), float(group), dtype=like.dtype,
                         device=like.device)
    lengths[-1] = columns - (count - 1) * group
    return lengths


def round_f16(x: Tensor) -> Tensor:
    """The nearest f16 values, in the type of `x`."""
    return x.to(torch.float16).to(x.dtype)


def ternary_codes(weight: Tensor, group: int) -> Tensor:
    """TWN codes of `weight` [N, K]: values -1, 0, 1 in its own type."""
    w = split_groups(weight, group)
    lengths = group_lengths(weight.shape[1], group, weight)
    delta = THRESHOLD * w.abs().sum(-1, keepdim=True) / lengths[:, None]
    codes = (w > delta).to(w.dtype) - (w < -delta).to(w.dtype)
    return join_groups(codes, weight.shape[1])


def twn_scale(weight: Tensor, codes: Tensor, group: int) -> Tensor:
    """Mean |W| over the group's nonzero codes, [N, G]; 0 if there are none."""
    w, t = split_groups(weight, group), split_groups(codes, group)
    return (w * t).sum(-1) / t.abs().sum(-1).clamp(min=1)


def least_squares(weight: Tensor, codes: Tensor,
                  group: int) -> tuple[Tensor, Tensor]:
    """(scale, shift), each [N, G], minimising the squared error for fixed
    codes (PT2-LLM, equation 9). Where every code of a group is the same and
    nonzero or zero the pair is not determined: scale 0, shift the mean."""
    w, t = split_groups(weight, group), split_groups(codes, group)
    n = group_lengths(weight.shape[1], group, weight)
    s_t, s_tt, s_w, s_wt = t.sum(-1), (t * t).sum(-1), w.sum(-1), (w * t).sum(-1)
    determinant = n * s_tt - s_t * s_t
    safe = determinant.clamp(min=1)
    scale = torch.where(determinant > 0, (n * s_wt - s_t * s_w) / safe,
                        torch.zeros_like(s_w))
    shift = torch.where(determinant > 0, (s_tt * s_w - s_t * s_wt) / safe,
                        s_w / n)
    return scale, shift


class _Dlt(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight: Tensor, scale: Tensor, shift: Tensor, group: int,
                gradient: str) -> Tensor:
        codes = ternary_codes(weight, group)
        ctx.save_for_backward(weight, scale, codes)
        ctx.group, ctx.gradient = group, gradient
        d = (round_f16(scale)[..., None] * split_groups(codes, group)
             + round_f16(shift)[..., None])
        return join_groups(d, weight.shape[1])

    @staticmethod
    def backward(ctx, grad: Tensor):
        weight, scale, codes = ctx.saved_tensors
        group, columns = ctx.group, weight.shape[1]
        q, t = split_groups(grad, group), split_groups(codes, group)
        d_scale, d_shift = (q * t).sum(-1), q.sum(-1)
        if ctx.gradient == "identity":
            d_weight = grad
        elif ctx.gradient == "clipped":
            inside = split_groups(weight, group).abs() <= scale.abs()[..., None]
            d_weight = join_groups(q * inside, columns)
        else:
            d_weight = join_groups(
                torch.where(t != 0, scale[..., None] * q, q), columns)
        return d_weight, d_scale, d_shift, None, None


def dlt(weight: Tensor, scale: Tensor, shift: Tensor, group: int,
        gradient: str = "identity") -> Tensor:
    """D [N, K] of `weight` [N, K], `scale` and `shift` [N, G], in float32."""
    if gradient not in GRADIENTS:
        raise ValueError(f"gradient: {gradient!r} is not one of {GRADIENTS}")
    if weight.dtype != torch.float32:
        raise TypeError(f"weight: quantised in float32, not {weight.dtype}")
    return _Dlt.apply(weight, scale, shift, group, gradient)
