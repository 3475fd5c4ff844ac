# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Stored tensors to linears and embeddings, each checked.

Input: a model's tensors and how config.json says they are stored. Output:
linears and embeddings; what is taken leaves the input. Invariant: types and
shapes are those that config.json implies, no digit is out of its range, no bit
is set past a row's end or as a salient weight's sign, and every coefficient is
finite.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tbq.checkpoint.bits import unpack_bits, unpack_codes, unpack_nibbles
from tbq.checkpoint.errors import CheckpointError
from tbq.checkpoint.files import StoredTensors
from tbq.checkpoint.linears import (BinaryLinear, DualBinaryLinear, Linear,
                                    QuantizedEmbedding, Salient, TernaryLinear)
from tbq.checkpoint.settings import EmbeddingScheme, Scheme, group_of


class _Module:
    """The tensors under one name, taken out one by one."""

    def __init__(self, stored: StoredTensors, name: str):
        self.stored, self.name = stored, name

    def has(self, part: str) -> bool:
        return f"{self.name}.{part}" in self.stored.tensors

    def error(self, part: str, detail: str) -> CheckpointError:
        full = f"{self.name}.{part}"
        return CheckpointError(self.stored.file.get(full, self.stored.path),
                               full, detail)

    def take(self, part: str, dtype: torch.dtype, *shape: int) -> Tensor:
        tensor = self.stored.tensors.pop(f"{self.name}.{part}", None)
        if tensor is None:
            raise self.error(part, "missing")
        if tensor.dtype != dtype or tensor.shape != shape:
            raise self.error(part, f"{tensor.dtype} {list(tensor.shape)}, "
                             f"expected {dtype} {list(shape)}")
        return tensor

    def take_scale(self, part: str, *shape: int) -> Tensor:
        scale = self.take(part, torch.float16, *shape)
        if not scale.isfinite().all():
            raise self.error(part, "holds an infinity or not a number")
        return scale

    def take_bits(self, part: str, *shape: int) -> Tensor:
        """uint8 of `shape`, whose last is the columns, in {0, 1}."""
        columns = shape[-1]
        bits = unpack_bits(self.take(part, torch.uint8, *shape[:-1],
                                     -(-columns // 8)))
        if bits[..., columns:].any():
            raise self.error(part, f"has bits past the {columns} columns of a "
                             "row")
        return bits[..., :columns]


def _salient(module: _Module, bits: Tensor) -> Salient:
    rows = bits.shape[0]
    mask = module.take_bits("salient_mask", *bits.shape).bool()
    if (bits.bool() & mask).any():
        raise module.error("planes", "has a bit set where a weight is salient")
    ends = torch.nn.functional.pad(mask.sum(1).cumsum(0), (1, 0))
    offsets = module.take("salient_offsets", torch.int32, rows + 1)
    if not torch.equal(offsets, ends.to(torch.int32)):
        raise module.error("salient_offsets",
                           "are not where the rows of salient_mask start")
    values = module.take("salient_values", torch.int8, int(ends[-1]))
    scale = module.take_scale("salient_scale", rows)
    zero = None
    if module.has("salient_zero"):
        zero = module.take("salient_zero", torch.int16, rows)
        if ((zero < -128) | (zero > 127)).any():
            raise module.error("salient_zero", "is not in -128..127")
    return Salient(mask, values, scale, zero)


def read_linear(stored: StoredTensors, name: str, scheme: Scheme, rows: int,
                columns: int) -> Linear:
    """Takes the tensors of linear `name` [rows, columns] out of `stored`."""
    module = _Module(stored, name)
    group = group_of(scheme.group_size, columns)
    groups = -(-columns // group)
    if scheme.scheme == "dual-binary":
        return DualBinaryLinear(module.take_bits("planes", 2, rows, columns),
                                module.take_scale("scale", 2, rows, groups),
                                group)
    scale = module.take_scale("scale", rows, groups)
    shift = (module.take_scale("shift", rows, groups) if scheme.shift
             else None)
    if scheme.scheme == "ternary":
        packed = module.take("codes", torch.uint8, rows, -(-columns // 4))
        # A 3 that only fills up the last byte is no code of this version's.
        if (unpack_codes(packed, 4 * packed.shape[1]) > 1).any():
            raise module.error("codes", "holds the code 3")
        return TernaryLinear(unpack_codes(packed, columns), scale, shift, group)
    bits = module.take_bits("planes", 1, rows, columns)[0]
    salient = _salient(module, bits) if module.has("salient_mask") else None
    return BinaryLinear(bits, scale, shift, group, salient)


def read_embedding(stored: StoredTensors, name: str, scheme: EmbeddingScheme,
                   rows: int, columns: int) -> QuantizedEmbedding:
    """Takes the tensors of table `name` [rows, columns] out of `stored`."""
    module = _Module(stored, name)
    group = group_of(scheme.group_size, columns)
    scale = module.take_scale("scale", rows, -(-columns // group))
    if scheme.bits == 8:
        codes = module.take("q", torch.int8, rows, columns)
    else:
        packed = module.take("q", torch.uint8, rows, -(-columns // 2))
        if columns % 2 and (packed[:, -1] >> 4).any():
            raise module.error("q", f"has bits past the {columns} columns of a "
                               "row")
        codes = unpack_nibbles(packed)[:, :columns]
    return QuantizedEmbedding(codes, scale, group, scheme.bits)
