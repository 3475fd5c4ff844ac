# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""One weight quantised after training.

Input: a float32 weight [N, K], what it becomes, and the Hessian of its inputs
if there is one. Output: what a checkpoint stores, on the CPU. Invariant:
without a Hessian, and by the method "nearest", it is what Quantizer.create
and export make of the weight.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tbq.checkpoint import Linear, QuantizedEmbedding
from tbq.checkpoint.settings import EmbeddingScheme
from tbq.ptq.grids import Grid, TableGrid, grid_of
from tbq.ptq.hessian import Factor, factorize
from tbq.ptq.options import Options
from tbq.ptq.sweep import sweep
from tbq.quant.embedding import QuantEmbedding
from tbq.quant.errors import SpecError
from tbq.quant.spec import Spec


def check_finite(weight: Tensor) -> None:
    """f16 holds a coefficient of any weight up to its largest number."""
    largest = torch.finfo(torch.float16).max
    if not (weight.abs() <= largest).all():  # not a number is not, either
        raise SpecError(f"has weights that are not finite or beyond {largest}")


def _swept(weight: Tensor, factor: Factor, grid: Grid,
           block: int) -> Linear | QuantizedEmbedding:
    result = sweep(weight, factor, grid, block)
    return grid.linear(result.digits, result.coefficients)


@torch.no_grad()
def quantize_linear(weight: Tensor, spec: Spec, hessian: Tensor | None,
                    options: Options) -> Linear:
    check_finite(weight)
    factor = importance = None
    if hessian is not None:
        factor = factorize(hessian, options.damping)
        importance = factor.saliency(weight)
    if factor is not None and options.method == "hessian":
        return _swept(weight, factor, grid_of(weight, spec, importance),
                      options.block)
    return spec.quantizer.create(weight, spec, importance).export(weight)


@torch.no_grad()
def quantize_table(weight: Tensor, scheme: EmbeddingScheme,
                   hessian: Tensor | None,
                   options: Options) -> QuantizedEmbedding:
    """hessian: of the head's inputs; None for a table that is only looked
    up, whose rows are multiplied by nothing."""
    check_finite(weight)
    if hessian is None or options.method == "nearest":
        return QuantEmbedding(weight, scheme).export()
    return _swept(weight, factorize(hessian, options.damping),
                  TableGrid(weight, scheme), options.block)
