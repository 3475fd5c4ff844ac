# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whether the comparison with the reference can fail: what a wrong compiler would compute is seen.

Each case makes of a stored checkpoint another valid one, different in one linear as if a shift
were dropped, two planes swapped or a mask read a column off. What is compiled of it agrees with
the reference of the same checkpoint, and is far from that of the one before.
"""

import numpy
import pytest
import torch

import reference
from damage import editTensors

LINEAR = "model.layers.1.mlp.down_proj"
IDS = list(range(2, 100))
BOUND = 1e-6
FAR = 1e-4


def dropShift(tensors):
    tensors[f"{LINEAR}.shift"].zero_()


def swapPlanes(tensors):
    tensors[f"{LINEAR}.planes"] = tensors[f"{LINEAR}.planes"].flip(0).contiguous()


def swapScales(tensors):
    tensors[f"{LINEAR}.scale"] = tensors[f"{LINEAR}.scale"].flip(0).contiguous()


def moveMask(tensors):
    """Every mask bit one column to the right, the last to the front; signs under it stay 0."""
    columns = 192
    mask, planes = tensors[f"{LINEAR}.salient_mask"].numpy(), tensors[f"{LINEAR}.planes"].numpy()
    bits = numpy.unpackbits(mask, axis=1, bitorder="little")
    assert bits.shape[1] == columns
    moved = numpy.packbits(numpy.roll(bits, 1, axis=1), axis=1, bitorder="little")
    tensors[f"{LINEAR}.salient_mask"] = torch.from_numpy(moved)
    tensors[f"{LINEAR}.planes"] = torch.from_numpy(planes & ~moved)


def dropZero(tensors):
    tensors[f"{LINEAR}.salient_zero"].zero_()


def moveValues(tensors):
    """As if a row's values began one further."""
    values = tensors[f"{LINEAR}.salient_values"]
    tensors[f"{LINEAR}.salient_values"] = values.roll(-1)


def swapNibbles(tensors):
    q = tensors["model.embed_tokens.q"].numpy()
    tensors["model.embed_tokens.q"] = torch.from_numpy(q << 4 | q >> 4)


@pytest.mark.parametrize(
    "name, change",
    [
        ("stored-ternary-g128", dropShift),
        ("stored-binary-g128", dropShift),
        ("stored-dual-binary-g64", swapPlanes),
        ("stored-dual-binary-g64", swapScales),
        ("stored-salient-g64", dropShift),
        ("stored-salient-g64", moveMask),
        ("stored-salient-g64", dropZero),
        ("stored-salient-g64", moveValues),
        ("stored-int4-g8-tied", swapNibbles),
    ],
)
def test_a_wrong_weight_is_seen(name, change, copy_of, compile_model, logits_of, measure):
    directory = copy_of(name)
    before = reference.logitsOf(reference.loadModel(directory), IDS)
    editTensors(directory / "model.safetensors", change)
    after = reference.logitsOf(reference.loadModel(directory), IDS)
    found = logits_of(compile_model(directory, "--activations=f32"), IDS)
    assert reference.nmse(found, after) <= BOUND
    error = reference.nmse(found, before)
    measure("NMSE", error)
    assert error >= FAR
