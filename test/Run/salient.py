# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Binary weights of which some are salient, as the tests understand them.

Written from the definition (PB-LLM) and apart from the compiler and from tbq.checkpoint. Of every
block of a group's columns and all rows, the weights of largest magnitude are salient: kept in 8
bits, whose scale and zero point follow from the whole row. The rest are binary, their mean and
scale over the weights that are not salient. Statistics are float64, the stored scales float16;
codes and zero points are 0..255, in the file less 128.
"""

import dataclasses

import numpy

import binary


@dataclasses.dataclass
class Fitted:
    """bits uint8 [1, N, K]; coefficients float16 [2, N, G]; mask bool [N, K]; codes uint8 [nnz],
    row by row; scale float16 [N]; zero int16 [N]."""

    bits: numpy.ndarray
    coefficients: numpy.ndarray
    mask: numpy.ndarray
    codes: numpy.ndarray
    scale: numpy.ndarray
    zero: numpy.ndarray


def fitMask(block, fraction):
    """float64 [N, n] -> which of a block's weights are salient."""
    magnitudes = numpy.abs(block)
    threshold = numpy.sort(magnitudes, axis=None)[int(block.size * (1 - fraction))]
    return magnitudes > threshold


def fitBinary(block, mask):
    """float64 [N, n] -> bits [N, n], 0 under the mask; scale [N]; mean [N]."""
    kept = ~mask
    count = numpy.maximum(kept.sum(axis=1), 1)
    mean = (block * kept).sum(axis=1) / count
    difference = block - mean[:, None]
    scale = (numpy.abs(difference) * kept).sum(axis=1) / count
    return (difference >= 0) & kept, scale, mean


def fitBytes(weights, symmetric):
    """float64 [N, K] -> codes uint8 [N, K], scale float16 [N], zero int16 [N].

    symmetric: the zero point is 128 in every row, so that a file need not say it.
    """
    smallest = numpy.minimum(weights.min(axis=1), 0)
    largest = numpy.maximum(weights.max(axis=1), 0)
    empty = (smallest == 0) & (largest == 0)
    smallest, largest = numpy.where(empty, -1, smallest), numpy.where(empty, 1, largest)
    if symmetric:
        largest = numpy.maximum(-smallest, largest)
        smallest = -largest
    scale = ((largest - smallest) / 255).astype(numpy.float16)
    step = numpy.where(scale > 0, scale.astype(numpy.float64), 1)
    zero = numpy.full(len(scale), 128) if symmetric else numpy.rint(-smallest / step)
    zero = numpy.clip(zero, 0, 255)
    codes = numpy.clip(numpy.rint(weights / step[:, None]) + zero[:, None], 0, 255)
    return codes.astype(numpy.uint8), scale, zero.astype(numpy.int16)


def fit(weights, group, fraction, symmetric=False):
    """[N, K] -> Fitted; group is a number of columns, or "row"."""
    weights = weights.astype(numpy.float64)
    columns = weights.shape[1]
    size = columns if group == "row" else group
    blocks = [weights[:, begin : begin + size] for begin in range(0, columns, size)]
    masks = [fitMask(block, fraction) for block in blocks]
    bits, scales, means = zip(*map(fitBinary, blocks, masks))
    mask = numpy.concatenate(masks, 1)
    codes, scale, zero = fitBytes(weights, symmetric)
    coefficients = numpy.stack([numpy.stack(scales, 1), numpy.stack(means, 1)])
    return Fitted(
        numpy.concatenate(bits, 1)[None].astype(numpy.uint8),
        coefficients.astype(numpy.float16),
        mask,
        codes[mask],
        scale,
        zero,
    )


def expand(fitted, group):
    """The float32 [N, K] that it stands for."""
    weights = binary.expand(fitted.bits, fitted.coefficients, group)
    row = numpy.nonzero(fitted.mask)[0]
    steps = fitted.codes.astype(numpy.float32) - fitted.zero.astype(numpy.float32)[row]
    weights[fitted.mask] = fitted.scale.astype(numpy.float32)[row] * steps
    return weights


def quantise(weights, group, fraction):
    """[N, K] -> the float32 matrix that its bits, codes and coefficients stand for."""
    return expand(fit(weights, group, fraction), group)


def overwrite(weights, mask, values, offsets, scale, zero):
    """Puts the salient weights of our quantised checkpoint into float32 [N, K], in place.

    Arrays as stored; each row's values are where the offsets say.
    """
    zero = numpy.zeros(len(scale), numpy.int16) if zero is None else zero
    places = numpy.unpackbits(mask, axis=1, bitorder="little")
    for row, place in enumerate(places[:, : weights.shape[1]].astype(bool)):
        steps = values[offsets[row] : offsets[row + 1]].astype(numpy.float32) - zero[row]
        weights[row, place] = scale[row].astype(numpy.float32) * steps
