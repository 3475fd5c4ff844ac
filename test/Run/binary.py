# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Binary and dual binary weights, as the tests understand them.

Written from the definitions and apart from the compiler, per row and group of consecutive
columns: PB-LLM's a sign(w - m) + m with m the mean and a the mean of |w - m|, where sign(0) = +1;
and DB-LLM's alpha1 b1 + alpha2 b2 as it starts, whose levels -s, 0, s, 2s have s = max|w| / 2 and
whose ties go to the level that the step function H with H(0) = 1 takes. Statistics and bits are
float64, the stored coefficients float16; the last group of a row may be shorter.
"""

import numpy


def fitBinary(weights):
    """float64 [N, n] -> bits [1, N, n], coefficients [2, N]: scale, then shift."""
    mean = weights.mean(axis=1)
    difference = weights - mean[:, None]
    return (difference >= 0)[None], numpy.stack([numpy.abs(difference).mean(axis=1), mean])


def fitDualBinary(weights):
    """float64 [N, n] -> bits [2, N, n], coefficients [2, N]: alpha1, then alpha2."""
    step = numpy.abs(weights).max(axis=1, keepdims=True) / 2
    alpha1, alpha2 = 2 * step, -step
    first = weights - (alpha1 + alpha2) / 2 >= 0
    second = -(weights - alpha1 * first - alpha2 / 2) >= 0
    return numpy.stack([first, second]), numpy.concatenate([alpha1, alpha2], 1).T


def fit(weights, scheme, group):
    """[N, K] -> bits uint8 [P, N, K], coefficients float16 [2, N, G].

    group is a number of columns, or "row".
    """
    weights = weights.astype(numpy.float64)
    columns = weights.shape[1]
    size = columns if group == "row" else group
    fitGroup = {"binary": fitBinary, "dual-binary": fitDualBinary}[scheme]
    fitted = [fitGroup(weights[:, begin : begin + size]) for begin in range(0, columns, size)]
    bits, coefficients = zip(*fitted)
    stacked = numpy.stack(coefficients, 2).astype(numpy.float16)
    return numpy.concatenate(bits, 2).astype(numpy.uint8), stacked


def expand(bits, coefficients, group):
    """The float32 [N, K] that one plane with scale and shift, or two planes, stand for."""
    columns = bits.shape[2]
    owner = numpy.arange(columns) // (columns if group == "row" else group)
    first, second = coefficients.astype(numpy.float32)[:, :, owner]
    planes = bits.astype(numpy.float32)
    if len(planes) == 1:
        return first * (2 * planes[0] - 1) + second
    return first * planes[0] + second * planes[1]


def quantise(weights, scheme, group):
    """[N, K] -> the float32 matrix that the bits and coefficients stand for."""
    return expand(*fit(weights, scheme, group), group)


def readLinear(planes, scale, shift, columns, group):
    """One linear of our quantised checkpoint -> float32 [N, K]."""
    bits = numpy.unpackbits(planes, axis=2, bitorder="little")[:, :, :columns]
    if len(planes) == 1:
        shifts = numpy.zeros_like(scale) if shift is None else shift
        scale = numpy.stack([scale, shifts])
    return expand(bits, scale, group)
