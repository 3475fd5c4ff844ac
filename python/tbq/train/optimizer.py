# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Which parameter learns how fast, and how gradients are clipped.

Input: a student's parameters by name. Output: AdamW over groups, each with its
own factor of the learning rate. Invariant: every parameter that learns is in
exactly one kind:

    latents       matrices of the blocks, float or behind a quantiser
    coefficients  scales, shifts and what else quantisers learn
    embedding     embedding and head
    norms         norms and biases

Latents and embedding are clipped together, coefficients and norms together: a
scale's gradient sums over its group, and one norm over all would let either
side silence the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from tbq.decoder import Decoder
from tbq.quant.quantizer import Quantizer
from tbq.train.distributed import whole
from tbq.train.options import Options

KINDS = ("latents", "coefficients", "embedding", "norms")
CLIPPED_TOGETHER = (("latents", "embedding"), ("coefficients", "norms"))
_STEPS_PER_OCTAVE = 4


def kinds_of(decoder: Decoder) -> dict[str, dict[str, nn.Parameter]]:
    """Learning parameters by kind and name."""
    coefficients, tables = set(), set()
    for module in decoder.model.modules():
        if isinstance(module, Quantizer):
            coefficients |= {id(p) for p in module.parameters()}
    for table in decoder.tables():
        own = dict(table.named_parameters())
        tables |= {id(p) for name, p in own.items() if name == "weight"}
        coefficients |= {id(p) for name, p in own.items() if name != "weight"}
    kinds: dict[str, dict[str, nn.Parameter]] = {kind: {} for kind in KINDS}
    for name, parameter in decoder.named_parameters().items():
        if not parameter.requires_grad:
            continue
        kind = ("embedding" if id(parameter) in tables else
                "coefficients" if id(parameter) in coefficients else
                "latents" if parameter.ndim > 1 else "norms")
        kinds[kind][name] = parameter
    return kinds


def rms_factors(latents: dict[str, nn.Parameter]) -> dict[str, float]:
    """Rate factor of each latent: its root mean square over the mean of all
    latents', to a quarter of an octave, so that few groups are stepped."""
    rms = {name: whole(p.detach()).square().mean().sqrt().item()
           for name, p in latents.items()}
    mean = sum(rms.values()) / max(len(rms), 1)
    return {name: 1.0 if value == 0 else
            2 ** (round(_STEPS_PER_OCTAVE * math.log2(value / mean))
                  / _STEPS_PER_OCTAVE) for name, value in rms.items()}


def factors_of(options: Options) -> dict[str, float]:
    """Of the learning rate, by kind."""
    return {"latents": 1.0, "coefficients": options.coefficient_rate,
            "embedding": options.embedding_rate, "norms": options.norm_rate}


def freeze(decoder: Decoder, options: Options) -> None:
    """What has a rate of 0 gets no gradient either."""
    factor = factors_of(options)
    for kind, parameters in kinds_of(decoder).items():
        if factor[kind] == 0:
            for parameter in parameters.values():
                parameter.requires_grad_(False)


def make_optimizer(decoder: Decoder, options: Options) -> torch.optim.AdamW:
    """AdamW; a group's "factor" times the rate of the step is its rate."""
    kinds, factor = kinds_of(decoder), factors_of(options)
    relative = (rms_factors(kinds["latents"]) if options.latent_rate == "rms"
                else {})
    # One step does not mix shards with whole tensors.
    groups: dict[tuple[str, float, bool], list[nn.Parameter]] = {}
    for kind, parameters in kinds.items():
        for name, parameter in parameters.items():
            key = (kind, factor[kind] * relative.get(name, 1.0),
                   isinstance(parameter, DTensor))
            groups.setdefault(key, []).append(parameter)
    return torch.optim.AdamW(
        [{"params": group, "kind": kind, "factor": factor,
          "weight_decay": options.decay if kind == "latents" else 0.0}
         for (kind, factor, _), group in groups.items()],
        lr=options.rate, betas=(options.beta1, options.beta2), fused=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


@dataclass(frozen=True)
class Gradients:
    """The gradients of one clipping, split by how ranks hold them."""

    whole: list[Tensor]
    shards: list[Tensor]
    sharded: list[DTensor]


def _gradients(optimizer: torch.optim.Optimizer,
               kinds: tuple[str, ...]) -> Gradients:
    found = [p.grad for group in optimizer.param_groups
             if group["kind"] in kinds for p in group["params"]
             if p.grad is not None]
    sharded = [g for g in found if isinstance(g, DTensor)]
    return Gradients([g for g in found if not isinstance(g, DTensor)],
                     [g.to_local() for g in sharded], sharded)


def _square(tensors: list[Tensor], like: Tensor) -> Tensor:
    if not tensors:
        return torch.zeros((), device=like.device)
    return torch.stack(torch._foreach_norm(tensors)).square().sum()


@torch.no_grad()
def clip(optimizer: torch.optim.Optimizer, limit: float) -> Tensor:
    """Scales the gradients of each of CLIPPED_TOGETHER to norm `limit` where it
    is above; returns the norms before, [2], without waiting for the device."""
    norms = []
    for kinds in CLIPPED_TOGETHER:
        gradients = _gradients(optimizer, kinds)
        local = gradients.whole + gradients.shards
        if not local:
            norms.append(None)
            continue
        square = _square(gradients.shards, local[0])
        if gradients.sharded:
            mesh = gradients.sharded[0].device_mesh
            torch.distributed.all_reduce(square, group=mesh.get_group())
        norm = (square + _square(gradients.whole, local[0])).sqrt()
        torch._foreach_mul_(local, (limit / (norm + 1e-6)).clamp(max=1.0))
        norms.append(norm)
    known = next(n for n in norms if n is not None)
    return torch.stack([torch.zeros_like(known) if n is None else n
                        for n in norms])
