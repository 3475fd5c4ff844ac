# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How salient each weight of a float model is, for students that keep a
Hessian's choice of salient weights while they train (PB-LLM, arXiv 2310.00034,
section 3.3).

Input: a float model, which of its linears ask, token ids [samples, length].
Output: [N, K] float32 by linear: w^2 / diag(U)^2 (tbq.ptq.hessian). Invariant:
every layer is calibrated on the float model's own activations, since training
changes all that come before it; the model is left as it was.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tbq.decoder import Decoder
from tbq.ptq.calibrate import Calibration, layer_linears
from tbq.ptq.hessian import DAMPING, HessianError, factorize
from tbq.quant.errors import SpecError
from tbq.quant.spec import Spec

CHUNK = 8  # rows of a forward pass


def asks_for_hessian(spec: Spec | None) -> bool:
    """Whether a linear's salient weights are chosen by calibration."""
    return (spec is not None and bool(spec.options.get("salient"))
            and spec.options["saliency"] == "hessian")


@torch.no_grad()
def importance_of(decoder: Decoder, specs: dict[str, Spec | None], ids: Tensor,
                  device: torch.device,
                  damping: float = DAMPING) -> dict[str, Tensor]:
    """decoder: float32 on `device`. specs: of every linear by full name."""
    calibration = Calibration(decoder, ids, device, torch.float32, CHUNK)
    found = {}
    for index, layer in enumerate(decoder.blocks):
        names = {part: f"{decoder.architecture.LAYERS}.{index}.{part}"
                 for part in layer_linears(layer)}
        asked = [part for part, name in names.items()
                 if asks_for_hessian(specs[name])]
        hessians = calibration.observe(index) if asked else {}
        for part in asked:
            weight = layer.get_submodule(part).weight.detach().float()
            try:
                factor = factorize(hessians[part].matrix(), damping)
            except HessianError as error:
                raise SpecError(f"{names[part]}: {error}") from error
            found[names[part]] = factor.saliency(weight)
        calibration.advance(index)
    return found
