# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How weights are rounded after training."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tbq.ptq.hessian import DAMPING
from tbq.ptq.sweep import BLOCK

METHODS = ("nearest", "hessian")


@dataclass(frozen=True)
class Options:
    """method: "nearest", each weight for itself, or "hessian", the sweep.
    damping: share of the Hessian's mean diagonal that is added to it. block:
    columns whose updates are put together. device: where layers compute.
    kept: type of the hidden states between layers. chunk: sequences at a
    time."""

    method: str = "nearest"
    damping: float = DAMPING
    block: int = BLOCK
    device: torch.device = torch.device("cpu")
    kept: torch.dtype = torch.float32
    chunk: int = 8
