# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Ternary weights with scale and shift, as the tests understand them.

Written from the definition and apart from the compiler: codes T by TWN's threshold
0.7 mean|W|, then the least-squares pair (scale, shift) for these codes, per row and group of
consecutive columns (TernaryLLM's DLT; the pair is PT2-LLM's equation 9). The last group of a
row may be shorter. Statistics are float64, the stored pair is float16.
"""

import numpy


def fitGroup(weights):
    """float64 [N, n] -> T [N, n], scale [N], shift [N] (float16 values as float64)."""
    n = weights.shape[1]
    threshold = 0.7 * numpy.abs(weights).mean(axis=1, keepdims=True)
    codes = (weights > threshold).astype(numpy.float64) - (weights < -threshold)
    sT, sTT = codes.sum(axis=1), (codes * codes).sum(axis=1)
    sW, sWT = weights.sum(axis=1), (weights * codes).sum(axis=1)
    divisor = n * sTT - sT * sT
    solvable = divisor != 0
    safe = numpy.where(solvable, divisor, 1)
    # All codes equal: the pair is not determined; TWN's mean, and no shift.
    mean = numpy.where(sTT > 0, numpy.abs(sWT) / numpy.maximum(sTT, 1), 0)
    scale = numpy.where(solvable, (n * sWT - sT * sW) / safe, mean)
    shift = numpy.where(solvable, (sTT * sW - sT * sWT) / safe, 0)
    return codes, scale.astype(numpy.float16), shift.astype(numpy.float16)


def fit(weights, group):
    """[N, K] -> T [N, K], scale [N, G], shift [N, G].

    group is a number of columns, or "row".
    """
    weights = weights.astype(numpy.float64)
    columns = weights.shape[1]
    size = columns if group == "row" else group
    fitted = [fitGroup(weights[:, begin : begin + size]) for begin in range(0, columns, size)]
    codes, scales, shifts = zip(*fitted)
    return numpy.concatenate(codes, 1), numpy.stack(scales, 1), numpy.stack(shifts, 1)


def expand(codes, scale, shift, group):
    """scale T + shift in float32, [N, K]; no shift is a shift of zero."""
    columns = codes.shape[1]
    owner = numpy.arange(columns) // (columns if group == "row" else group)
    shifts = numpy.zeros_like(scale) if shift is None else shift
    scaled = codes.astype(numpy.float32) * scale.astype(numpy.float32)[:, owner]
    return scaled + shifts.astype(numpy.float32)[:, owner]


def quantise(weights, group):
    """[N, K] -> the float32 matrix that the codes, scales and shifts stand for."""
    return expand(*fit(weights, group), group)


def readCodes(packed, columns):
    """U8 [N, ceil(K/4)], four 2-bit codes T+1 a byte, low bits first -> T [N, K]."""
    bits = (packed[:, :, None] >> numpy.array([0, 2, 4, 6], numpy.uint8)) & 3
    return bits.reshape(len(packed), -1)[:, :columns].astype(numpy.int8) - 1


def readLinear(codes, scale, shift, columns, group):
    """One linear of our quantised checkpoint -> float32 [N, K]."""
    return expand(readCodes(codes, columns), scale, shift, group)
