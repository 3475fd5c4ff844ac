# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The second moments of a linear's inputs, and what is derived from them.

Input: the activations X that a linear multiplies, in any number of pieces.
Output: H = mean of x x^T [K, K] and the upper Cholesky factor of its inverse,
H^-1 = U^T U, by which errors of one column are made good in those after it
(GPTQ, arXiv 2210.17323; PB-LLM, arXiv 2310.00034, section 3.3). Invariant: H
does not depend on the pieces but for float64's rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

DAMPING = 0.01


class HessianError(ValueError):
    """Activations that no Hessian can be made of, in one line."""


class Hessian:
    """The running sum of x x^T, float64 [K, K], in the place of `like`."""

    def __init__(self, columns: int, like: Tensor):
        self.sum = torch.zeros(columns, columns, dtype=torch.float64,
                               device=like.device)
        self.count = 0

    def add(self, x: Tensor) -> None:
        """x [..., K]: each of its vectors counts once."""
        x = x.reshape(-1, x.shape[-1]).float()
        self.sum += (x.T @ x).double()
        self.count += x.shape[0]

    def matrix(self) -> Tensor:
        if not self.count:
            raise HessianError("no activation was seen")
        return self.sum / self.count


@dataclass(frozen=True)
class Factor:
    """upper: U [K, K], float64. dead: bool [K], inputs that are always 0."""

    upper: Tensor
    dead: Tensor

    def saliency(self, weight: Tensor) -> Tensor:
        """w^2 / diag(U)^2, [N, K]: what the output loses without a weight (the
        released PB-LLM's form, with U's diagonal for that of H^-1)."""
        diagonal = self.upper.diagonal().to(weight.dtype)
        return weight.square() / diagonal.square()


def factorize(hessian: Tensor, damping: float = DAMPING) -> Factor:
    """hessian: H float64 [K, K]. To its diagonal, 1 where an input is dead,
    `damping` times the diagonal's mean is added."""
    if not hessian.isfinite().all():
        raise HessianError("activations are not finite or too large")
    h = hessian.clone()
    diagonal = h.diagonal()
    dead = diagonal == 0
    diagonal[dead] = 1
    diagonal += damping * diagonal.mean()
    lower, failed = torch.linalg.cholesky_ex(h)
    if not failed:
        upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower),
                                                 upper=True)
    if failed:
        raise HessianError(f"its Hessian is singular with damping {damping}: "
                           "raise the damping or calibrate on more tokens")
    return Factor(upper, dead)


def output_error(weight: Tensor, quantized: Tensor, hessian: Tensor) -> float:
    """||W X - Q X||^2 / ||W X||^2 with H of X; 0 where both are 0."""
    w, d = weight.double(), (weight - quantized).double()
    lost, all_ = (((m @ hessian) * m).sum().item() for m in (d, w))
    return lost / all_ if all_ > 0 else 0.0
