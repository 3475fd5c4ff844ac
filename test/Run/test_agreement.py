# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How far each mode of activations is from transformers in float32, on 1,000 positions of text.

The text is given, not generated, so that one different choice does not change what follows. The
reference has the same weights: the float ones, or what the ternary ones stand for. In f32 and i16
modes both find the same token likeliest wherever the reference's first and second are further apart
than four times the largest error of a logit; where they are not, a difference is listed.
"""

import functools

import numpy
import pytest

import reference
from conftest import LONG
from test_models import quantiser, windowsOf

TERNARY = "ternary:g64"
slow = pytest.mark.skipif(not LONG, reason="slow: TBQ_LONG=1 runs it")
MODELS = ["tinystories", "stories260k", pytest.param("smollm2", marks=slow)]
POSITIONS = 1000
# For each mode and weights the bounds: of any position's NMSE, of the share of equal choices, and
# of KL(reference || ours). Float weights are multiplied in f32 in every mode; what is left then
# of i8 is its cache of halves.
BOUNDS = {
    ("f32", None): (1e-6, 0.999, 1e-6),
    ("f32", TERNARY): (1e-6, 0.999, 1e-6),
    ("i16", None): (1e-4, 0.99, 1e-5),
    ("i16", TERNARY): (1e-3, 0.99, 1e-4),
    ("i8", None): (1e-3, 0.99, 1e-4),
    ("i8", TERNARY): (0.1, 0.9, 0.02),
}
# In these modes choices must be equal where the gap allows it, which must be at so many positions.
COMPARED = {"f32": 0.99, "i16": 0.7}
# SmolLM2 made ternary without training is noise through 30 layers, and i8 changes all of it: what
# is measured is shown, and that it is no better is no fault of the code.
UNBOUNDED = {("smollm2", "i8", TERNARY)}


@functools.lru_cache(maxsize=1)
def expectedLogits(name, spec, directory):
    """The ids of the windows and, in their order, the reference's logits."""
    windows = windowsOf(name, directory)
    model = reference.loadModel(directory, quantiser(spec) if spec else None)
    return windows, numpy.concatenate([reference.logitsOf(model, ids) for ids in windows])


def differences(found, expected):
    """Positions with another choice, and the gap between the reference's first two of each."""
    largest = numpy.partition(expected, -2, axis=1)[:, -2:].astype(float)
    gaps = largest[:, 1] - largest[:, 0]
    return numpy.nonzero(found.argmax(1) != expected.argmax(1))[0], gaps


@pytest.mark.parametrize("activations", sorted({mode for mode, _ in BOUNDS}))
@pytest.mark.parametrize("spec", [None, TERNARY], ids=["float", "ternary"])
@pytest.mark.parametrize("name", MODELS)
def test_choices(
    name, spec, activations, model_directory, compile_model, logits_of, measure
):
    directory = model_directory(name)
    windows, expected = expectedLogits(name, spec, directory)
    assert len(expected) == POSITIONS
    flags = [f"--quantize={spec}"] if spec else []
    artifact = compile_model(directory, *flags, f"--activations={activations}")
    found = numpy.concatenate([logits_of(artifact, ids) for ids in windows])

    error = reference.errors(found, expected).max()
    margin = 4 * numpy.abs(found.astype(float) - expected).max()
    different, gaps = differences(found, expected)
    agreement = 1 - len(different) / POSITIONS
    divergence = reference.divergence(found, expected)
    measure("worst NMSE of a position", error)
    measure("largest error of a logit", margin / 4)
    measure("agreement", agreement)
    measure("KL", divergence)

    if (name, activations, spec) not in UNBOUNDED:
        largestError, leastAgreement, mostDivergence = BOUNDS[activations, spec]
        assert agreement >= leastAgreement
        assert divergence <= mostDivergence
        assert error <= largestError
    if activations in COMPARED:
        for i in different:
            choices = f"{found[i].argmax()} for {expected[i].argmax()}"
            measure(f"position {i}, {choices}, which are apart", gaps[i])
        assert (gaps[different] <= margin).all(), different
        assert (gaps > margin).mean() >= COMPARED[activations], "the margin leaves too little to compare"
