# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How weights become few bits, and get gradients through it.

    groups         groups of a row, f16 rounding
    quantizer      Quantizer, what one weight is quantised with, and options
    dlt, ternary, binary, dual_binary
                   the methods; ternary_fit and salient are what they share
    spec, policy   what is asked for: of one linear, and of each by its name
    linear, embedding
                   the modules that are trained
    student        a transformers model made of them, and its checkpoint
    configuration  quantization_config
"""
