# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Quantizers under torch.compile: one graph, and the eager results."""

import pytest
import torch

from tbq.quant.spec import Spec

# One of each autograd function; 20 columns end with half a group.
SPECS = ["dlt:g8,grid=learned", "absmean:g8", "seq:g8",
         "binary:g8,salient=0.1", "fdb:g8,weights=trained"]


@pytest.mark.parametrize("text", SPECS)
def test_compiles_whole_with_the_same_result(text):
    """Neither forward nor backward pass breaks dynamo's graph."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    w, spec = 0.1 * torch.randn(5, 20), Spec.parse(text)
    quantizer = spec.quantizer.create(w, spec)
    compiled = torch.compile(lambda x: quantizer(x), fullgraph=True,
                             dynamic=False, backend="aot_eager")
    results = []
    for function in (compiled, quantizer):
        latent = w.clone().requires_grad_()
        quantizer.zero_grad()
        value = function(latent)
        value.backward(torch.linspace(-1, 2, w.numel()).view_as(w))
        results.append([value, latent.grad,
                        *(p.grad for p in quantizer.parameters())])
    for a, b in zip(*results):
        torch.testing.assert_close(a, b)
