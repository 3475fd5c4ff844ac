# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""One optimiser step's losses and gradients.

Input: rows of token ids [B, T] and the weights of the losses. Output: the
gradients of every parameter of the student, and the losses, left on the device.

The embedding is quantised once a step. Its table is detached into a float32
leaf that the lookup and a tied head both read; the leaf's gradient, summed over
forward passes, then goes back through the quantiser once. The full logits of a
batch never exist (tbq.distill.logits).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tbq.data.mixture import Batch
from tbq.decoder import Decoder
from tbq.distill.features import feature_l2_loss, off_loss
from tbq.distill.logits import IGNORED, LogitWeights, distillation_loss

NAMES = ("loss", "off", "kd", "ce", "l2", "dad")


def labels_of(batch: Batch) -> Tensor:
    """The token after each, [B, T]; none after a row's last and where the
    source's mask says that a token is not worth a label."""
    following = batch.ids[:, 1:].masked_fill(~batch.labelled[:, 1:], IGNORED)
    return F.pad(following, (0, 1), value=IGNORED)


class _Leaf:
    """A tensor computed once, read by several graphs: `value` collects the
    gradients, `backward` hands their sum on."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor
        self.value = tensor.detach().requires_grad_(tensor.requires_grad)

    def backward(self) -> None:
        if self.value.grad is not None:
            self.tensor.backward(self.value.grad)


@dataclass(frozen=True)
class Lesson:
    """What is taught, and how. losses: weights by name. dtype: of compute.
    layers: blocks of off and l2 (None: all). channel_rms [L, d] or None."""

    losses: dict[str, float]
    dtype: torch.dtype
    temperature: float = 1.0
    dad_gamma: float = 0.1
    layers: list[int] | None = None
    channel_rms: Tensor | None = None
    skip_first: bool = False
    chunk: int = 8192
    compile: bool = False

    @property
    def logit_weights(self) -> LogitWeights:
        return LogitWeights(self.losses["ce"], self.losses["kd"],
                            self.losses["dad"], self.dad_gamma,
                            self.temperature)


def _features(lesson: Lesson, student: list[Tensor], teacher: list[Tensor],
              factor: Tensor | float) -> tuple[Tensor | float, dict[str, Tensor]]:
    """The weighted sum of off and l2 and each that has a weight."""
    total, terms = 0.0, {}
    common = {"layers": lesson.layers, "channel_rms": lesson.channel_rms,
              "skip_first": lesson.skip_first}
    if lesson.losses["off"]:
        off = off_loss(student, teacher, compile=lesson.compile, **common)
        total, terms["off"] = total + factor * lesson.losses["off"] * off, off
    if lesson.losses["l2"]:
        l2 = feature_l2_loss(student, teacher, **common)
        total, terms["l2"] = total + factor * lesson.losses["l2"] * l2, l2
    return total, terms


def compute_gradients(student: Decoder, teacher: Decoder, rows: Tensor,
                      labels: Tensor, micro: int, lesson: Lesson,
                      factor: Tensor | float) -> Tensor:
    """Adds dL/dparameter to every gradient of the student and returns NAMES'
    values, [6] float32, means over the rows; 0 for a loss without weight.
    rows, labels: [B, T]. micro: rows of a forward pass, over whose labels ce is
    a mean. factor: of the feature losses' weights."""
    passes = rows.shape[0] // micro
    table = _Leaf(student.table())
    head = table if student.tied else _Leaf(student.head())
    sums = torch.zeros(len(NAMES), device=rows.device)
    for ids, following in zip(rows.split(micro), labels.split(micro)):
        with torch.no_grad():
            taught, taught_outputs = teacher.hidden(ids, dtype=lesson.dtype)
            taught_head = teacher.head()
        hidden, outputs = student.hidden(ids, table.value, lesson.dtype)
        loss, terms = _features(lesson, outputs, taught_outputs, factor)
        weights = lesson.logit_weights
        if weights.ce or weights.kd or weights.dad:
            logit_loss, logit_terms = distillation_loss(
                hidden.flatten(0, 1), head.value, taught.flatten(0, 1),
                taught_head, following.flatten(), weights, lesson.chunk,
                lesson.compile)
            loss, terms = loss + logit_loss, terms | logit_terms
        (loss / passes).backward()
        terms["loss"] = loss
        zero = sums.new_zeros(())
        sums += torch.stack([terms.get(name, zero).detach().float()
                             for name in NAMES])
    table.backward()
    if head is not table:
        head.backward()
    return sums / passes
