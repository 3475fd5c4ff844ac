# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Quantizer: what one weight matrix is quantised with.

Input: the float32 latent of a linear, [N, K]. Output: the float32 weight that
it is multiplied by, and what a checkpoint stores of it. Invariant: the two are
equal, bit for bit, in eager float32 on one device: `export(w).dequantize()` is
`self(w)`. Coefficients enter as the f16 values that are stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from tbq.checkpoint import Linear
from tbq.checkpoint.settings import group_of

if TYPE_CHECKING:
    from tbq.quant.spec import Spec


@dataclass(frozen=True)
class Option:
    """An option of a method: one of `choices`, the first by default, or, where
    `most` is given, a number in [0, most], 0 by default."""

    choices: tuple[str | bool, ...] = ()
    most: float | None = None

    @property
    def default(self) -> str | bool | float:
        return self.choices[0] if self.most is None else 0.0


TRUE_FIRST = Option((True, False))
FALSE_FIRST = Option((False, True))


class Quantizer(nn.Module):
    """Learned numbers of one weight [N, K] beside its latent.

    SCHEME: its name in quantization_config. OPTIONS: by name. trains_weight:
    whether the latent is trained; if not, only parameters of this module are.
    """

    SCHEME: ClassVar[str]
    OPTIONS: ClassVar[dict[str, Option]] = {}
    trains_weight: bool = True

    def __init__(self, weight: Tensor, spec: Spec):
        super().__init__()
        self.spec = spec
        self.columns = weight.shape[1]
        self.group = group_of(spec.group, self.columns)

    @classmethod
    def create(cls, weight: Tensor, spec: Spec,
               importance: Tensor | None = None) -> Quantizer:
        """Initialised from the float weight [N, K]. importance [N, K]: how
        salient each weight is, where the method asks for it."""
        raise NotImplementedError

    def forward(self, weight: Tensor) -> Tensor:
        """Latent [N, K] -> dequantised weight [N, K], both float32."""
        raise NotImplementedError

    def export(self, weight: Tensor) -> Linear:
        """What a checkpoint stores, on the CPU."""
        raise NotImplementedError

    def shifts(self) -> bool:
        """Whether a shift (binary: a mean) is stored beside the scale."""
        return False

    def settings(self) -> dict:
        """scheme, group_size, shift, as quantization_config has them."""
        return {"scheme": self.SCHEME, "group_size": self.spec.group,
                "shift": self.shifts()}

    def extra_repr(self) -> str:
        return str(self.spec)
