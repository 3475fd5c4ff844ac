# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The embedding and head in 8 and 4 bits, as the tests understand them.

Written from the definition and apart from the compiler and from tbq.checkpoint: per row and group
of consecutive columns, 8 bits are 127 steps to the largest magnitude; 4 bits are -8..7, of which
-8 is the weight of largest magnitude, so that the scale has the opposite of its sign. Statistics
are float64, the stored scale is float16 and codes follow from it.
"""

import numpy


def fitGroup(weights, bits):
    """float64 [V, n] -> codes int8 [V, n], scale float16 [V]."""
    largest = numpy.abs(weights).argmax(axis=1)
    extreme = numpy.take_along_axis(weights, largest[:, None], 1)[:, 0]
    ideal = numpy.abs(extreme) / 127 if bits == 8 else extreme / -8
    scale = ideal.astype(numpy.float16)
    step = numpy.where(scale != 0, scale.astype(numpy.float64), numpy.inf)
    low, high = (-127, 127) if bits == 8 else (-8, 7)
    codes = numpy.clip(numpy.rint(weights / step[:, None]), low, high)
    return codes.astype(numpy.int8), scale


def fit(weights, bits, group):
    """[V, K] -> codes int8 [V, K], scale float16 [V, G]; group is a number or "row"."""
    weights = weights.astype(numpy.float64)
    columns = weights.shape[1]
    size = columns if group == "row" else group
    blocks = [weights[:, begin : begin + size] for begin in range(0, columns, size)]
    codes, scales = zip(*(fitGroup(block, bits) for block in blocks))
    return numpy.concatenate(codes, 1), numpy.stack(scales, 1)


def expand(codes, scale, group):
    """scale times code in float32, [V, K]."""
    columns = codes.shape[1]
    owner = numpy.arange(columns) // (columns if group == "row" else group)
    return codes.astype(numpy.float32) * scale.astype(numpy.float32)[:, owner]


def quantise(weights, bits, group):
    """[V, K] -> the float32 matrix that the codes and scales stand for."""
    return expand(*fit(weights, bits, group), group)


def readTable(q, scale, columns, bits, group):
    """NAME.q and NAME.scale of our quantised checkpoint -> float32 [V, K]."""
    if bits == 4:
        nibbles = numpy.stack([q & 15, q >> 4], 2).reshape(len(q), -1)
        q = nibbles[:, :columns].astype(numpy.int8) - 8
    return expand(q, scale, group)
