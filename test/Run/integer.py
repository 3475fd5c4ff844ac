# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Embeddings in 8 and 4 bits, as the tests understand them.

Written from the definition and apart from the compiler, per row and group of consecutive columns:
w = scale * q. In 8 bits the scale is max|w| / 127 and q from -127 to 127; in 4 bits the scale is
e / -8, where e is the first weight of largest magnitude, with its sign, and q from -8 to 7. The
scale is computed in float64 and rounded to float16; q is w in steps of that scale, rounded half to
even, and 0 where the scale is 0. The last group of a row may be shorter.
"""

import numpy


def fitGroup(weights, bits):
    """float64 [N, n] -> q [N, n], scale float16 [N]."""
    if bits == 8:
        scale = numpy.abs(weights).max(axis=1) / 127
    else:
        first = numpy.abs(weights).argmax(axis=1)
        scale = weights[numpy.arange(len(weights)), first] / -8
    scale = scale.astype(numpy.float16)
    steps = scale.astype(numpy.float64)[:, None]
    q = numpy.rint(numpy.divide(weights, steps, out=numpy.zeros_like(weights), where=steps != 0))
    return numpy.clip(q, *((-127, 127) if bits == 8 else (-8, 7))), scale


def fit(weights, bits, group):
    """[N, K] -> q int8 [N, K], scale float16 [N, G]. group is a number of columns, or "row"."""
    weights = weights.astype(numpy.float64)
    columns = weights.shape[1]
    size = columns if group == "row" else group
    fitted = [fitGroup(weights[:, begin : begin + size], bits) for begin in range(0, columns, size)]
    codes, scales = zip(*fitted)
    return numpy.concatenate(codes, 1).astype(numpy.int8), numpy.stack(scales, 1)


def expand(codes, scale, group):
    """The float32 [N, K] that codes and scales stand for."""
    columns = codes.shape[1]
    owner = numpy.arange(columns) // (columns if group == "row" else group)
    return codes.astype(numpy.float32) * scale.astype(numpy.float32)[:, owner]


def quantise(weights, bits, group):
    """[N, K] -> the float32 matrix that its codes and scales stand for."""
    return expand(*fit(weights, bits, group), group)


def store(codes, bits):
    """q [N, K] as a checkpoint stores it: I8 [N, K], or U8 [N, ceil(K/2)], low nibble first."""
    if bits == 8:
        return codes
    nibbles = (codes + 8).astype(numpy.uint8)
    nibbles = numpy.pad(nibbles, ((0, 0), (0, nibbles.shape[1] % 2)))
    return nibbles[:, 0::2] | nibbles[:, 1::2] << 4


def readTable(stored, scale, columns, group):
    """The embedding of our quantised checkpoint -> float32 [N, K]."""
    if stored.dtype == numpy.int8:
        return expand(stored, scale, group)
    nibbles = numpy.stack([stored & 15, stored >> 4], 2).reshape(len(stored), -1)[:, :columns]
    return expand(nibbles.astype(numpy.int8) - 8, scale, group)
