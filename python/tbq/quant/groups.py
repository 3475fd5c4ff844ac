# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Groups of weights along a row, and the f16 values of their coefficients.

Input: a matrix [N, K] and how many columns share a coefficient. Output: the
same by groups, [N, G, group] with G = ceil(K / group). Invariant: the last
group may be shorter; its padding is 0 and `group_lengths` counts real weights
only.
"""

from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def split_groups(x: Tensor, group: int) -> Tensor:
    """[N, K] -> [N, G, group], the last group padded with zeros; a view where
    groups divide K."""
    rows, columns = x.shape
    missing = -columns % group
    padded = F.pad(x, (0, missing)) if missing else x
    return padded.reshape(rows, -1, group)


def join_groups(x: Tensor, columns: int) -> Tensor:
    """[N, G, group] -> [N, columns], dropping the padding."""
    return x.reshape(x.shape[0], -1)[:, :columns]


def group_lengths(columns: int, group: int, like: Tensor) -> Tensor:
    """Real weights in each group, [G], in the type and place of `like`."""
    starts = torch.arange(0, columns, group, device=like.device)
    return (columns - starts).clamp(max=group).to(like.dtype)


def group_mask(columns: int, group: int, like: Tensor) -> Tensor:
    """[G, group] in the type and place of `like`: 1 where a weight is real, 0
    where it is padding."""
    lengths = group_lengths(columns, group, like)
    return (torch.arange(group, device=like.device)
            < lengths[:, None]).to(like.dtype)


def by_parts(function: Callable[..., Tensor | tuple[Tensor, ...]], group: int,
             matrices: tuple[Tensor | None, ...],
             coefficients: tuple[Tensor | None, ...] = ()):
    """function(group, *matrices, *coefficients), once for the columns of full
    groups and once for the short last group as a group of its own length, the
    results joined along the last axis. matrices [N, K], coefficients [.., G].

    Nothing is padded where this is differentiated and compiled: a sum over
    padded groups whose result is then cut to K columns comes out wrong from
    inductor on the CPU (torch 2.13)."""
    columns = matrices[0].shape[1]
    full = columns // group * group
    if full in (0, columns):
        return function(min(group, columns), *matrices, *coefficients)
    parts = [
        function(length,
                 *(m if m is None else m[:, where] for m in matrices),
                 *(c if c is None else c[..., which] for c in coefficients))
        for length, where, which in (
            (group, slice(full), slice(-1)),
            (columns - full, slice(full, None), slice(-1, None)))]
    if isinstance(parts[0], tuple):
        return tuple(torch.cat(both, -1) for both in zip(*parts))
    return torch.cat(parts, -1)


def round_f16(x: Tensor) -> Tensor:
    """The nearest f16 values, ties to even, in the type of `x` (compiled:
    float32)."""
    if torch.compiler.is_compiling():
        return _round_f16_by_bits(x)
    return x.to(torch.float16).to(x.dtype)


def _round_f16_by_bits(x: Tensor) -> Tensor:
    """The same: inductor drops a cast to f16 and back inside one kernel."""
    bits = x.view(torch.int32)
    # 13 of float32's 23 bits go; half of the last that stays, less the tie.
    normal = ((bits + 0xfff + (bits >> 13 & 1)) & ~0x1fff).view(torch.float32)
    size = x.abs()
    # f16's subnormal numbers are 2^-24 apart, as float32's from 0.5 to 1 are.
    small = torch.copysign((size + 0.5) - 0.5, x)
    infinite = torch.copysign(torch.full_like(x, torch.inf), x)
    rounded = torch.where(size < 2.0 ** -14, small, normal)
    rounded = torch.where(size >= 65520, infinite, rounded)
    return torch.where(x.isnan(), x, rounded)


class _RoundF16(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return round_f16(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return grad


def round_f16_straight(x: Tensor) -> Tensor:
    """round_f16, through which a gradient passes unchanged."""
    return _RoundF16.apply(x)
