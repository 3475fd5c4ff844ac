# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Feature distillation: the student's block outputs against the teacher's.

Input:  block outputs of both models on the same tokens, a list of [B, T, d],
        before the final norm; computed in float32 whatever their type.
Output: a scalar, differentiable in the student's.
OFF (TernaryLLM, arXiv 2406.07177, outlier-friendly feature distillation) is
1 - cosine of each token's two vectors, here the mean over layers and tokens.
Which layers it takes is not public: an argument. A few channels and the first
token carry most of the energy of a llama, so that the raw cosine sees little
else: channel_rms divides each channel by the teacher's root mean square, and
skip_first leaves position 0 out.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

EPSILON = 1e-8


def _scaled(hidden: Tensor, rms: Tensor | None) -> Tensor:
    """hidden [..., d] in float32 (float64 stays), channels divided by rms."""
    hidden = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
    return hidden if rms is None else hidden / rms.to(hidden.dtype)


def _cosine(student: Tensor, teacher: Tensor,
            rms: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Per token: the cosine and both norms, each at least EPSILON."""
    s, t = _scaled(student, rms), _scaled(teacher, rms)
    student_norm = s.norm(dim=-1).clamp(min=EPSILON)
    teacher_norm = t.norm(dim=-1).clamp(min=EPSILON)
    return ((s * t).sum(-1) / (student_norm * teacher_norm), student_norm,
            teacher_norm)


def _cosine_gradient(student: Tensor, teacher: Tensor, rms: Tensor | None,
                     cosine: Tensor, student_norm: Tensor,
                     teacher_norm: Tensor, outer: Tensor) -> Tensor:
    """outer * dcos/ds, dcos/ds = t/(|s||t|) - cos s/|s|^2, in student's type.
    Where |s| was raised to EPSILON it is a constant: no second term."""
    s, t = _scaled(student, rms), _scaled(teacher, rms)
    own = torch.where(student_norm > EPSILON, cosine / student_norm.square(), 0)
    gradient = (t / (student_norm * teacher_norm).unsqueeze(-1)
                - s * own.unsqueeze(-1)) * outer.unsqueeze(-1)
    if rms is not None:
        gradient = gradient / rms.to(gradient.dtype)
    return gradient.to(student.dtype)


@functools.cache
def _compiled(function):
    return torch.compile(function, dynamic=False)


class _TokenCosine(torch.autograd.Function):
    """cosine [B, T] of two [B, T, d]. Keeps the two inputs and three numbers a
    token, not their float32 copies: those of 30 layers would fill the GPU."""

    @staticmethod
    def forward(ctx, student, teacher, rms, compiled):
        run = _compiled(_cosine) if compiled else _cosine
        cosine, student_norm, teacher_norm = run(student, teacher, rms)
        ctx.save_for_backward(student, teacher, rms, cosine, student_norm,
                              teacher_norm)
        ctx.compiled = compiled
        return cosine

    @staticmethod
    def backward(ctx, outer):
        run = _compiled(_cosine_gradient) if ctx.compiled else _cosine_gradient
        return run(*ctx.saved_tensors, outer.contiguous()), None, None, None


def _chosen(student: list[Tensor], teacher: list[Tensor],
            layers: Sequence[int] | None, skip_first: bool):
    """(layer, student's, teacher's detached) of the layers asked for."""
    if len(student) != len(teacher):
        raise ValueError(f"{len(student)} block outputs of the student, "
                         f"{len(teacher)} of the teacher")
    for layer in range(len(student)) if layers is None else layers:
        first = 1 if skip_first else 0
        yield (layer, student[layer][:, first:],
               teacher[layer][:, first:].detach())


def off_loss(student: list[Tensor], teacher: list[Tensor],
             layers: Sequence[int] | None = None,
             channel_rms: Sequence[Tensor] | Tensor | None = None,
             skip_first: bool = False, compile: bool = False) -> Tensor:
    """Mean over `layers` (None: all) and tokens of 1 - cos(student, teacher),
    in [0, 2]. channel_rms: [d] of each layer, by layer number."""
    means = []
    for layer, s, t in _chosen(student, teacher, layers, skip_first):
        rms = None if channel_rms is None else channel_rms[layer]
        means.append(1 - _TokenCosine.apply(s, t, rms, compile).mean())
    return torch.stack(means).mean()


def feature_l2_loss(student: list[Tensor], teacher: list[Tensor],
                    layers: Sequence[int] | None = None,
                    channel_rms: Sequence[Tensor] | Tensor | None = None,
                    skip_first: bool = False) -> Tensor:
    """Mean over `layers` of the squared error over the teacher's mean square:
    1 for a student that says 0. The plain rival that OFF is compared with."""
    means = []
    for layer, s, t in _chosen(student, teacher, layers, skip_first):
        rms = None if channel_rms is None else channel_rms[layer]
        s, t = _scaled(s, rms), _scaled(t, rms)
        means.append((s - t).square().mean() / t.square().mean())
    return torch.stack(means).mean()


@torch.no_grad()
def channel_rms(teacher_outputs: list[Tensor],
                skip_first: bool = False) -> Tensor:
    """Root mean square of each channel over all tokens, [layers, d] float32,
    at least EPSILON. skip_first: without position 0, whose size would set it
    for all others."""
    first = 1 if skip_first else 0
    return torch.stack([
        output[:, first:].flatten(0, 1).float().square().mean(0).sqrt()
        for output in teacher_outputs]).clamp(min=EPSILON)
