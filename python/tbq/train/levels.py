# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A student that starts from a quantised checkpoint: from its levels.

Input: a checkpoint of ternary linears (docs/checkpoint.md). Output: a student
of the learned grid with its codes, scales and shifts, each latent weight on the
level that its code stands for. Invariant: the student computes what the
checkpoint does, and no latent weight is near a threshold. After a long run a
third of them are, and their codes go back and forth at any rate (docs/results.md).
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from tbq.checkpoint import CheckpointError, TernaryLinear, read_checkpoint
from tbq.train.models import fingerprint
from tbq.train.state import copy_into


def take_levels(directory: Path, own: dict[str, Tensor]) -> str:
    """Copies the checkpoint's values to the student's tensors; returns its
    fingerprint."""
    checkpoint = read_checkpoint(directory)
    tensors = {name: tensor.float()
               for name, tensor in checkpoint.floats.items()}
    for name, linear in checkpoint.linears.items():
        if not isinstance(linear, TernaryLinear):
            raise CheckpointError(directory, name, "only ternary linears have "
                                  "levels that a student can start from")
        tensors[f"{name}.weight"] = linear.dequantize().float()
        tensors[f"{name}.quantizer.scale"] = linear.scale.float()
        if linear.shift is not None:
            tensors[f"{name}.quantizer.shift"] = linear.shift.float()
    for name, table in checkpoint.embeddings.items():
        tensors[f"{name}.weight"] = table.dequantize().float()
        if f"{name}.scale" in own:
            tensors[f"{name}.scale"] = table.scale.float()
    copy_into(own, tensors, directory)
    return fingerprint(directory)
