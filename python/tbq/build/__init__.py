# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""From a recipe to a verified artifact.

    recipe     the file, checked
    compare    a compiled model's logits against PyTorch's
    steps      train or quantise, compile, verify, compare, record
"""
