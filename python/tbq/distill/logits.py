# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Losses on next-token distributions, chunk by chunk over tokens.

Input:  hidden states [M, d] after the final norm and heads [V, d] of student
        and teacher, M tokens; labels [M], -100 where there is none.
Output: one scalar, differentiable in the student's hidden states and head.
Invariant: logits exist for one chunk of tokens at a time. Each chunk's loss and
gradients are computed together in the forward, by the formulas below; backward
only multiplies. Matrix products run in the hidden states' type (bfloat16 on a
GPU), everything between them in float32 (float64 stays float64).

With p, q the teacher's and student's distributions at temperature T, H entropy
in nats, z the student's logits, means over tokens (ce: over those with labels):

    ce   -log q[label], T = 1                        dz: q - onehot(label)
    kd   T^2 KL(p || q)                              dz: T (q - p)
    dad  T^2 w KL(p || q), w = (H(p) H(q))^gamma     dz: w T (q - p)

kd and dad are the soft cross-entropies less the teacher's entropy, which has no
gradient: both are 0 where the student is the teacher. dad is our reading of
DB-LLM's deviation-aware distillation (arXiv 2402.11960), whose exact formula is
not public: w is a constant in the backward, and H is clamped at 0, below which
it can be rounded. kd + lambda dad with gamma 0 is (1 + lambda) kd.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

IGNORED = -100


@dataclass(frozen=True)
class LogitWeights:
    """What each term counts; a term of weight 0 is not computed (but kd, which
    is always reported). T divides the logits in kd and dad."""

    ce: float = 0.0
    kd: float = 1.0
    dad: float = 0.0
    dad_gamma: float = 0.1
    temperature: float = 1.0


@dataclass(frozen=True)
class _Form:
    """What a chunk's code is compiled for: all that changes its operations."""

    ce: bool
    dad: bool
    gamma: float
    temperature: float
    gradient: bool
    head_gradient: bool


def _entropy(log_p: Tensor, p: Tensor) -> Tensor:
    return -(p * log_p).sum(-1)


def _chunk(student: Tensor, head: Tensor, teacher: Tensor, teacher_head: Tensor,
           labels: Tensor, share: Tensor, label_share: Tensor, factors: Tensor,
           form: _Form) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Of c tokens: [ce, kd, dad], dL/dstudent [c, d] and dL/dhead [V, d].

    share, label_share [c]: what a token counts in means over all tokens and
    over labelled ones. factors [3]: the weights of ce, kd, dad."""
    logits = student @ head.T
    wide = torch.promote_types(logits.dtype, torch.float32)
    logits = logits.to(wide)
    t = form.temperature
    log_q = torch.log_softmax(logits / t, -1)
    log_p = torch.log_softmax((teacher @ teacher_head.T).to(wide) / t, -1)
    q, p = log_q.exp(), log_p.exp()
    kl = t * t * (p * (log_p - log_q)).sum(-1)
    token_factor = factors[1] * share
    zero = torch.zeros_like(factors[0])
    dad = ce = zero
    if form.dad:
        deviation = (_entropy(log_p, p).clamp(min=0)
                     * _entropy(log_q, q).clamp(min=0)).pow(form.gamma)
        dad = (deviation * kl * share).sum()
        token_factor = token_factor + factors[2] * deviation * share
    if form.ce:
        log_q1 = log_q if t == 1 else torch.log_softmax(logits, -1)
        known = labels.clamp(min=0).unsqueeze(-1)
        ce = -(log_q1.gather(-1, known).squeeze(-1) * label_share).sum()
    terms = torch.stack([ce, (kl * share).sum(), dad])
    if not form.gradient:
        return terms, None, None
    gradient = t * token_factor.unsqueeze(-1) * (q - p)
    if form.ce:
        columns = torch.arange(head.shape[0], device=head.device)
        wrong = log_q1.exp() - (columns == labels.unsqueeze(-1)).to(wide)
        gradient = gradient + (factors[0] * label_share).unsqueeze(-1) * wrong
    gradient = gradient.to(student.dtype)
    return (terms, gradient @ head,
            gradient.T @ student if form.head_gradient else None)


@functools.cache
def _compiled():
    return torch.compile(_chunk, dynamic=False)


def _even_chunks(tokens: int, chunk: int) -> tuple[int, int]:
    """(how many, tokens in each): equal, so that one shape is compiled; the
    last one is filled up with tokens that count 0."""
    count = -(-tokens // chunk)
    return count, -(-tokens // count)


def _padded(tensor: Tensor, rows: int, value: float = 0) -> Tensor:
    missing = rows - tensor.shape[0]
    if not missing:
        return tensor
    return torch.cat([tensor, tensor.new_full((missing, *tensor.shape[1:]),
                                              value)])


class _Distillation(torch.autograd.Function):
    """(student hidden, student head, ...) -> (loss, terms [3])."""

    @staticmethod
    def forward(ctx, student, head, teacher, teacher_head, labels, weights,
                chunk, compiled, differentiable):
        needs = [differentiable and n for n in ctx.needs_input_grad[:2]]
        form = _Form(weights.ce != 0, weights.dad != 0, weights.dad_gamma,
                     weights.temperature, any(needs), needs[1])
        run = _compiled() if compiled else _chunk
        tokens = student.shape[0]
        count, size = _even_chunks(tokens, chunk)
        wide = torch.promote_types(student.dtype, torch.float32)
        labelled = labels != IGNORED
        label_share = labelled.to(wide) / labelled.sum().clamp(min=1)
        share = torch.full((tokens,), 1 / tokens, dtype=wide,
                           device=student.device)
        # Filled on the device: copying a list there would wait for it.
        factors = torch.cat([share.new_full((1,), f) for f in
                             (weights.ce, weights.kd, weights.dad)])
        near, far = head.to(student.dtype), teacher_head.to(teacher.dtype)
        rows = [_padded(x, count * size, value) for x, value in (
            (student, 0), (teacher, 0), (labels, IGNORED), (share, 0),
            (label_share, 0))]
        terms = torch.zeros_like(factors)
        hidden_gradient = torch.empty_like(rows[0]) if form.gradient else None
        head_gradient = (torch.zeros(head.shape, dtype=wide, device=head.device)
                         if form.head_gradient else None)
        for at in range(0, count * size, size):
            s, t, own, part, label_part = (x[at:at + size] for x in rows)
            values, hidden_part, head_part = run(
                s, near, t, far, own, part, label_part, factors, form)
            terms += values
            if form.gradient:
                hidden_gradient[at:at + size] = hidden_part
            if form.head_gradient:
                head_gradient += head_part
        if form.gradient:
            hidden_gradient = hidden_gradient[:tokens]
        if form.head_gradient:
            head_gradient = head_gradient.to(head.dtype)
        ctx.save_for_backward(hidden_gradient, head_gradient)
        ctx.mark_non_differentiable(terms)
        return (factors * terms).sum(), terms

    @staticmethod
    def backward(ctx, outer, _):
        return (*(None if not needed else gradient * outer.to(gradient.dtype)
                  for gradient, needed in zip(ctx.saved_tensors,
                                              ctx.needs_input_grad)),
                *[None] * 7)


def distillation_loss(
        student_hidden: Tensor, student_head: Tensor, teacher_hidden: Tensor,
        teacher_head: Tensor, labels: Tensor,
        weights: LogitWeights = LogitWeights(), chunk: int = 8192,
        compile: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    """ce * CE + kd * KD + dad * DAD, and the three terms, detached, by name
    (0 where one was not asked for), in nats.

    Shapes: [M, d], [V, d], [M, e], [V, e], [M]; the two models may differ in
    width, not in vocabulary. The teacher gets no gradient."""
    if student_head.shape[0] != teacher_head.shape[0]:
        raise ValueError(f"the student's head has {student_head.shape[0]} rows, "
                         f"the teacher's {teacher_head.shape[0]}")
    loss, terms = _Distillation.apply(
        student_hidden, student_head, teacher_hidden.detach(),
        teacher_head.detach(), labels, weights, chunk, compile,
        torch.is_grad_enabled())
    return loss, dict(zip(("ce", "kd", "dad"), terms))
