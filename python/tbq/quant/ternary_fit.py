# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Ternary codes and the scales and shifts that fit them.

Input: a float weight [N, K] and its groups along K. Output: codes [N, K] in
{-1, 0, 1} in the weight's type; scales and shifts [N, G]. Invariant:
statistics are over real weights, never over a short group's padding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tbq.quant.groups import group_lengths, join_groups, split_groups

THRESHOLD = 0.7
ALTERNATIONS = 6
SCALE_FLOOR = 1e-5


def threshold_codes(w: Tensor, lengths: Tensor) -> Tensor:
    """TWN codes of groups w [N, G, group] (arXiv 1605.04711): 0 up to
    0.7 mean |W|; lengths [G]."""
    delta = THRESHOLD * w.abs().sum(-1, keepdim=True) / lengths[:, None]
    return (w > delta).to(w.dtype) - (w < -delta).to(w.dtype)


def ternary_codes(weight: Tensor, group: int) -> Tensor:
    """TWN codes of `weight` [N, K]: values -1, 0, 1 in its own type."""
    columns = weight.shape[1]
    return join_groups(
        threshold_codes(split_groups(weight, group),
                        group_lengths(columns, group, weight)), columns)


def positions(weight: Tensor, scale: Tensor, shift: Tensor | None,
              group: int) -> Tensor:
    """(W - shift) / scale by groups, [N, G, group]: what is rounded to a
    nearest code. scale, shift [N, G]; scale > 0."""
    w = split_groups(weight, group)
    if shift is not None:
        w = w - shift[..., None]
    return w / scale[..., None]


def nearest_codes(weight: Tensor, scale: Tensor, shift: Tensor | None,
                  group: int) -> Tensor:
    """The codes [N, K] of the nearest of shift - scale, shift, shift + scale; a
    tie goes to code 0 (round half to even)."""
    u = positions(weight, scale.clamp(min=SCALE_FLOOR), shift, group)
    return join_groups(u.round().clamp(-1, 1), weight.shape[1])


def twn_scale(weight: Tensor, codes: Tensor, group: int) -> Tensor:
    """Mean |W| over the group's nonzero codes, [N, G]; 0 if there are none.
    It minimises the squared error for fixed codes without a shift."""
    w, t = split_groups(weight, group), split_groups(codes, group)
    return (w * t).sum(-1) / t.abs().sum(-1).clamp(min=1)


def least_squares(weight: Tensor, codes: Tensor,
                  group: int) -> tuple[Tensor, Tensor]:
    """(scale, shift), each [N, G], minimising the squared error for fixed
    codes (PT2-LLM, arXiv 2510.03267, equation 9). Where every code of a group
    is the same and nonzero or zero the pair is not determined: scale 0, shift
    the mean."""
    w, t = split_groups(weight, group), split_groups(codes, group)
    n = group_lengths(weight.shape[1], group, weight)
    s_t, s_tt = t.sum(-1), (t * t).sum(-1)
    s_w, s_wt = w.sum(-1), (w * t).sum(-1)
    determinant = n * s_tt - s_t * s_t
    safe = determinant.clamp(min=1)
    scale = torch.where(determinant > 0, (n * s_wt - s_t * s_w) / safe,
                        torch.zeros_like(s_w))
    shift = torch.where(determinant > 0, (s_tt * s_w - s_t * s_wt) / safe,
                        s_w / n)
    return scale, shift


def fit(weight: Tensor, codes: Tensor, group: int,
        shifted: bool) -> tuple[Tensor, Tensor | None]:
    """The least-squares scale and, if `shifted`, shift of fixed codes."""
    if shifted:
        return least_squares(weight, codes, group)
    return twn_scale(weight, codes, group), None


def alternate(weight: Tensor, group: int, shifted: bool,
              times: int = ALTERNATIONS) -> tuple[Tensor, Tensor | None]:
    """(scale, shift or None) after `times` rounds of fitting both to codes and
    taking the nearest codes, from TWN's codes on. No round raises the error."""
    scale, shift = fit(weight, ternary_codes(weight, group), group, shifted)
    for _ in range(times - 1):
        codes = nearest_codes(weight, scale, shift, group)
        scale, shift = fit(weight, codes, group, shifted)
    return scale, shift
