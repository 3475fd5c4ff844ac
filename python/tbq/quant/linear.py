# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""QuantLinear: a linear whose weight passes through a quantizer.

Input: activations [..., K] of any float type. Output: [..., N] of that type.
Invariant: the weight is quantised in float32 and only its result is cast.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from tbq.quant.embedding import QuantEmbedding
from tbq.quant.quantizer import Quantizer
from tbq.quant.spec import Spec

__all__ = ["QuantEmbedding", "QuantLinear"]


class QuantLinear(nn.Module):
    """weight: the float32 latent [N, K]; bias: float32 [N] or None."""

    def __init__(self, weight: Tensor, bias: Tensor | None,
                 quantizer: Quantizer):
        super().__init__()
        self.weight = nn.Parameter(weight, quantizer.trains_weight)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.quantizer = quantizer

    @classmethod
    def of(cls, linear: nn.Linear, spec: Spec,
           importance: Tensor | None = None) -> QuantLinear:
        """`linear` quantised as `spec` says; its tensors are copied."""
        weight = linear.weight.detach().float().clone()
        bias = (None if linear.bias is None
                else linear.bias.detach().float().clone())
        quantizer = spec.quantizer.create(weight, spec, importance)
        return cls(weight, bias, quantizer)

    def quantized_weight(self) -> Tensor:
        """The float32 weight [N, K] that is multiplied by."""
        return self.quantizer(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.quantized_weight().to(x.dtype), bias)
