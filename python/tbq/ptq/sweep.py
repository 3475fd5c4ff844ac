# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""GPTQ's sweep over the columns of a weight (arXiv 2210.17323), on any grid.

Input: a weight [N, K], the factor of its inputs' Hessian and a grid. Output:
digits and values [N, K], and each group's coefficients. Invariant: columns are
taken in their natural order; a group's coefficients are computed from the
compensated weights when the sweep reaches it; the result does not depend on
`block` but for rounding, which only delays updates so that they are products
of matrices.

    for each column i:  e = (w_i - q(w_i)) / U_ii;  w_j -= e U_ij for j > i
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import torch
from torch import Tensor

from tbq.ptq.grids import Grid
from tbq.ptq.hessian import Factor

BLOCK = 128


@dataclass(frozen=True)
class Swept:
    """digits, values: [N, K] in the weight's type; coefficients: [N, G]
    each."""

    digits: Tensor
    values: Tensor
    coefficients: tuple[Tensor, ...]


def _spans(columns: int, group: int, block: int) -> Iterator[tuple[int, int]]:
    """Blocks that end where groups do, or lie within one."""
    if group <= block:
        step = block // group * group
        for start in range(0, columns, step):
            yield start, min(start + step, columns)
        return
    for first in range(0, columns, group):
        last = min(first + group, columns)
        for start in range(first, last, block):
            yield start, min(start + block, last)


@torch.no_grad()
def sweep(weight: Tensor, factor: Factor, grid: Grid,
          block: int = BLOCK) -> Swept:
    """Quantises `weight` [N, K], float32 or float64, in that type."""
    w = weight.clone()
    w[:, factor.dead] = 0
    upper = factor.upper.to(w.dtype)
    columns, group = w.shape[1], grid.group
    digits, values = torch.empty_like(w), torch.empty_like(w)
    fitted: list[tuple[Tensor, ...]] = []
    for start, stop in _spans(columns, group, block):
        errors = torch.empty_like(w[:, start:stop])
        for i in range(start, stop):
            if i % group == 0:
                fitted.append(grid.fit(w[:, i:i + group], i))
            column = w[:, i]
            digits[:, i], values[:, i] = grid.round(column, fitted[-1], i)
            error = (column - values[:, i]) / upper[i, i]
            w[:, i + 1:stop] -= torch.outer(error, upper[i, i + 1:stop])
            errors[:, i - start] = error
        w[:, stop:] -= errors @ upper[start:stop, stop:]
    return Swept(digits, values, tuple(torch.stack(c, 1) for c in zip(*fitted)))
