# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What steps on a GPU, real or emulated, are compared with and how far they may be from it."""

import numpy

import reference
import synthetic

NAMES = [
    "tied-f32", "f16-llama3-rope", "untied-bf16-sharded", "opt", "opt-gelu-bf16", "opt-post-f16", "tinytales",
    *synthetic.STORED, *synthetic.EMBEDDED, *synthetic.WIDE,
]  # fmt: skip
# f32 sums in another order; i16 and i8 round what then differs in its last bits.
BOUNDS = {"f32": 1e-9, "i16": 1e-6, "i8": 1e-3}


def check(found, expected, activations, measure):
    error = reference.nmse(found, expected)
    measure("NMSE", error)
    assert numpy.isfinite(found).all() and error < BOUNDS[activations]
