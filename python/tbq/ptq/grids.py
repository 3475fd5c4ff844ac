# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The levels that the sweep rounds to, a class for each form of digits.

Input: the compensated weights of a group, then its columns one by one. Output:
coefficients as f16 values; a digit and a value for each weight; at the end what
a checkpoint stores. Invariant: a digit is that of the nearest level, and
`linear(digits, coefficients).dequantize()` is the values, in float32.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from tbq.checkpoint import (BinaryLinear, DualBinaryLinear, Linear,
                            QuantizedEmbedding, TernaryLinear)
from tbq.checkpoint.settings import EmbeddingScheme, group_of
from tbq.quant.binary import binary_fit
from tbq.quant.dual_binary import (alternate, first_scales, nearest_bits,
                                   ordered)
from tbq.quant.embedding import fitted_scale, largest_scale, table_codes
from tbq.quant.groups import round_f16
from tbq.quant.salient import RowCodes, codes_on, row_codes, stored_salient
from tbq.quant.spec import Spec

Coefficients = tuple[Tensor, ...]


class Grid(Protocol):
    """group: columns that share coefficients."""

    group: int

    def fit(self, w: Tensor, start: int) -> Coefficients:
        """Coefficients, [N] each, of w [N, n], whose first column of the whole
        weight is `start`."""

    def round(self, column: Tensor, coefficients: Coefficients,
              index: int) -> tuple[Tensor, Tensor]:
        """Digits and values, [N] each, of `column` [N], the weight's column
        `index`."""

    def linear(self, digits: Tensor, coefficients: Coefficients
               ) -> Linear | QuantizedEmbedding:
        """What a checkpoint stores of digits [N, K], coefficients [N, G]."""


def _row_spec(spec: Spec, **options: str) -> Spec:
    """`spec` of a weight that is one group wide."""
    return replace(spec, group="row", options={**spec.options, **options})


class TernaryGrid:
    """Coefficients: scale and, if the method has one, shift, as the method
    first sets them; DLT's for nearest codes (grid=learned)."""

    def __init__(self, weight: Tensor, spec: Spec):
        self.group = group_of(spec.group, weight.shape[1])
        learned = {"grid": "learned"} if spec.method == "dlt" else {}
        self.spec = _row_spec(spec, **learned)

    def fit(self, w: Tensor, start: int) -> Coefficients:
        first = self.spec.quantizer.create(w, self.spec).export(w)
        return tuple(c[:, 0].to(w) for c in (first.scale, first.shift)
                     if c is not None)

    def round(self, column: Tensor, coefficients: Coefficients,
              index: int) -> tuple[Tensor, Tensor]:
        scale, *shifts = coefficients
        centered = column - shifts[0] if shifts else column
        determined = scale > 0
        u = centered / torch.where(determined, scale, 1)
        digits = torch.where(determined, u, 0).round().clamp(-1, 1)
        value = scale * digits
        return digits, value + shifts[0] if shifts else value

    def linear(self, digits: Tensor, coefficients: Coefficients) -> Linear:
        scale, *shifts = (c.half().cpu() for c in coefficients)
        return TernaryLinear(digits.to(torch.int8).cpu(), scale,
                             shifts[0] if shifts else None, self.group)


class BinaryGrid:
    """Coefficients: scale and, if there is one, mean, of what is not salient.
    Salient weights have the 8-bit grid of the first weight's row, and their
    digit is its code."""

    def __init__(self, weight: Tensor, spec: Spec, importance: Tensor | None):
        first = spec.quantizer.create(weight, spec, importance)
        self.group, self.mean = first.group, first.mean
        self.compat, self.mask = first.compat, first.mask
        self.rows = None if self.mask is None else row_codes(weight)

    def fit(self, w: Tensor, start: int) -> Coefficients:
        mask = (None if self.mask is None
                else self.mask[:, None, start:start + w.shape[1]])
        scale, mean = binary_fit(w[:, None], torch.ones_like(w[:1]), mask,
                                 self.mean, self.compat)
        pair = (scale, mean) if self.mean else (scale,)
        return tuple(round_f16(c[:, 0]) for c in pair)

    def round(self, column: Tensor, coefficients: Coefficients,
              index: int) -> tuple[Tensor, Tensor]:
        scale, *means = coefficients
        mean = means[0] if means else torch.zeros_like(scale)
        digits = (column >= mean).to(column.dtype)
        value = scale * (2 * digits - 1) + mean
        if self.mask is None:
            return digits, value
        kept = codes_on(column[:, None], self.rows.scale,
                        self.rows.zero.to(column.dtype) + 128)
        mask = self.mask[:, index]
        return (torch.where(mask, kept.codes[:, 0].to(digits), digits),
                torch.where(mask, kept.value()[:, 0].to(value), value))

    def linear(self, digits: Tensor, coefficients: Coefficients) -> Linear:
        scale, *means = (c.half().cpu() for c in coefficients)
        digits, salient = digits.to(torch.int8), None
        if self.mask is not None:
            codes = RowCodes(digits, self.rows.scale, self.rows.zero)
            salient = stored_salient(self.mask, codes)
            digits = digits * ~self.mask
        return BinaryLinear(digits.to(torch.uint8).cpu(), scale,
                            means[0] if means else None, self.group, salient)


class DualBinaryGrid:
    """Coefficients: a1 and a2, in order; a digit is b1 + 2 b2."""

    def __init__(self, weight: Tensor, spec: Spec):
        self.group = group_of(spec.group, weight.shape[1])
        self.fitted = spec.options["init"] == "alternate"

    def fit(self, w: Tensor, start: int) -> Coefficients:
        groups = w[:, None]
        scale = (alternate(groups, torch.ones_like(w[:1])) if self.fitted
                 else first_scales(groups))
        return tuple(a[:, 0] for a in ordered(scale))

    def round(self, column: Tensor, coefficients: Coefficients,
              index: int) -> tuple[Tensor, Tensor]:
        a1, a2 = coefficients
        b1, b2 = (b[:, 0] for b in nearest_bits(column[:, None], a1, a2))
        return b1 + 2 * b2, a1 * b1 + a2 * b2

    def linear(self, digits: Tensor, coefficients: Coefficients) -> Linear:
        codes = digits.to(torch.uint8).cpu()
        return DualBinaryLinear(
            torch.stack([codes & 1, codes >> 1]),
            torch.stack(coefficients).half().cpu(), self.group)


class TableGrid:
    """An embedding's or a head's: coefficient scale."""

    def __init__(self, weight: Tensor, scheme: EmbeddingScheme):
        self.group = group_of(scheme.group_size, weight.shape[1])
        self.bits = scheme.bits

    def fit(self, w: Tensor, start: int) -> Coefficients:
        scale = largest_scale if self.bits == 8 else fitted_scale
        return (scale(w[:, None])[:, 0],)

    def round(self, column: Tensor, coefficients: Coefficients,
              index: int) -> tuple[Tensor, Tensor]:
        digits = table_codes(column[:, None, None], coefficients[0][:, None],
                             self.bits)[:, 0, 0]
        return digits, coefficients[0] * digits

    def linear(self, digits: Tensor,
               coefficients: Coefficients) -> QuantizedEmbedding:
        return QuantizedEmbedding(digits.to(torch.int8).cpu(),
                                  coefficients[0].half().cpu(), self.group,
                                  self.bits)


def grid_of(weight: Tensor, spec: Spec, importance: Tensor | None) -> Grid:
    """The grid of a linear's first weight [N, K]; importance as for
    Quantizer.create."""
    if spec.quantizer.SCHEME == "ternary":
        return TernaryGrid(weight, spec)
    if spec.quantizer.SCHEME == "binary":
        return BinaryGrid(weight, spec, importance)
    return DualBinaryGrid(weight, spec)
