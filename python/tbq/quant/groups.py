# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Groups of weights along a row, and the f16 values of their coefficients.

Input: a matrix [N, K] and how many columns share a coefficient. Output: the
same by groups, [N, G, group] with G = ceil(K / group). Invariant: the last
group may be shorter; its padding is 0 and `group_lengths` counts real weights
only.
"""

from __future__ import annotations

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
    count = -(-columns // group)
    lengths = torch.full((count,), float(group), dtype=like.dtype,
                         device=like.device)
    lengths[-1] = columns - (count - 1) * group
    return lengths


def group_mask(columns: int, group: int, like: Tensor) -> Tensor:
    """[G, group] in the type and place of `like`: 1 where a weight is real, 0
    where it is padding."""
    lengths = group_lengths(columns, group, like)
    return (torch.arange(group, device=like.device)
            < lengths[:, None]).to(like.dtype)


def round_f16(x: Tensor) -> Tensor:
    """The nearest f16 values, in the type of `x`."""
    return x.to(torch.float16).to(x.dtype)
