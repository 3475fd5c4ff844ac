# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Training and checkpoints of low-bit transformers for the TBQ compiler."""
