# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Integer sums are exact: AMX tiles, dot products, AVX2 and plain multiplications give the same logits,
and so do prefill, which has blocks of tokens, and decode.
"""

import pytest

from conftest import LONG
from test_models import windowsOf

CASES = [("ternary:g64", "i8"), ("binary:g64,salient=0.1", "i8"), ("dual-binary:g64", "i16")]
SLOW = [
    ("ternary:row", "i8"),
    ("binary:g64", "i8"),
    ("dual-binary:g64", "i8"),
    ("ternary:g64", "i16"),
    ("binary:g128,salient=0.1", "i16"),
]
# Those that a processor has of the others are taken away with it.
WITHOUT = ["amx-int8", "avx512vnni", "avx2"]


@pytest.mark.parametrize("spec, activations", CASES + SLOW * LONG)
def test_same_bits(spec, activations, model_directory, compile_model, logits_of):
    """70 tokens: a whole chunk of prefill, and one that is none."""
    directory = model_directory("tinystories")
    flags = (f"--quantize={spec}", "--embedding=int8:g64", f"--activations={activations}")
    ids = windowsOf("tinystories", directory)[0][:70]
    artifact = compile_model(directory, *flags)
    expected = logits_of(artifact, ids).tobytes()
    assert logits_of(artifact, ids, chunk=1, workers=2).tobytes() == expected
    for feature in WITHOUT:
        other = compile_model(directory, *flags, f"--mattr=-{feature}")
        assert logits_of(other, ids).tobytes() == expected, feature
