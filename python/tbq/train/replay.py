# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The gradients of a step as one CUDA graph.

Input: `compute(rows, labels, factor)`, which leaves gradients in parameters
that had none and returns figures, all on the device and without a question to
it. Output: the same call, whose work the host starts with one launch: a step of
few rows is otherwise over before the host has named its thousand kernels.
Invariant: the first calls run as they are, so that all is compiled before the
capture; the graph's gradients, and the figures, stay in the same memory and are
overwritten by every call.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

EAGER_CALLS = 2

Compute = Callable[[Tensor, Tensor, Tensor], Tensor]


class Replay:
    """rows, labels: of one shape in all calls. factor: a number, which may
    differ from call to call."""

    def __init__(self, compute: Compute, parameters: Iterable[nn.Parameter]):
        self.compute, self.parameters = compute, list(parameters)
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, rows: Tensor, labels: Tensor, factor: float) -> Tensor:
        self.calls += 1
        if self.graph is not None:
            self._fill(rows, labels, factor)
        else:
            self.inputs = (rows, labels,
                           torch.full((), factor, device=rows.device))
            for parameter in self.parameters:
                parameter.grad = None
            if self.calls <= EAGER_CALLS:
                return self.compute(*self.inputs)
            self._capture()
        self.graph.replay()
        return self.figures

    def _fill(self, rows: Tensor, labels: Tensor, factor: float) -> None:
        held_rows, held_labels, held_factor = self.inputs
        held_rows.copy_(rows, non_blocking=True)
        held_labels.copy_(labels, non_blocking=True)
        held_factor.fill_(factor)

    def _capture(self) -> None:
        # What the calls before it left cached would stand beside the graph's
        # own memory.
        gc.collect()
        torch.cuda.empty_cache()
        self.graph = torch.cuda.CUDAGraph()
        # Other threads (NCCL's) may use the device meanwhile.
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.figures = self.compute(*self.inputs)
