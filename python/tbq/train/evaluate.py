# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How far a model is from its teacher, and how well it predicts a text.

Input:  models with hidden(ids, dtype=) -> (after the final norm [B, T, d], ...)
        and head() -> [V, d] (tbq.decoder), rows of token shards or a text's
        tokens.
Output: figures. Invariants: logits are float32 products of float32 matrices,
for one chunk of tokens at a time; nothing of the teacher is stored; every rank
does the same number of forward passes, and all get the same figures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tbq.data.errors import DataError
from tbq.data.shards import TokenShards


def _log_probabilities(hidden: Tensor, head: Tensor) -> Tensor:
    """float32 [M, V] of hidden [M, d]."""
    return torch.log_softmax(hidden.float() @ head.float().T, -1)


@torch.no_grad()
def token_divergence(teacher: Tensor, teacher_head: Tensor, student: Tensor,
                     student_head: Tensor,
                     chunk: int = 8192) -> tuple[Tensor, Tensor]:
    """Of M tokens with hidden states [M, d]: KL(teacher || student) in nats,
    float32 [M], and whether both find the same token likeliest, bool [M]."""
    divergences, agreements = [], []
    for t, s in zip(teacher.split(chunk), student.split(chunk)):
        log_p = _log_probabilities(t, teacher_head)
        log_q = _log_probabilities(s, student_head)
        divergences.append((log_p.exp() * (log_p - log_q)).sum(-1))
        agreements.append(log_p.argmax(-1) == log_q.argmax(-1))
    return torch.cat(divergences), torch.cat(agreements)


def scored_positions(sampled: Tensor | None, shape: torch.Size) -> Tensor:
    """bool [B, T]: positions whose distribution is compared: where the next
    token was the teacher's choice. What was fed (a template's tokens, the start
    of a real text) stands where the teacher would have gone on otherwise.
    Without a mask all but the last, which has no next."""
    scored = torch.zeros(shape, dtype=torch.bool)
    scored[:, :-1] = True if sampled is None else sampled[:, 1:] != 0
    return scored


class Evaluator:
    """Called with a student: the held-out figures against the teacher,
    kl (nats a token) and agreement (share of tokens).

    options: eval_tokens, length, chunk, rows_of_rank(ranks) as the trainer's;
    world: rank, size, device, sum_(tensor). The same rows every time: the first
    ones, as many as eval_tokens has and whole passes of every rank."""

    def __init__(self, teacher, held_out: TokenShards, options, world,
                 dtype: torch.dtype | None = None):
        self.teacher, self.world, self.dtype = teacher, world, dtype
        self.chunk = options.chunk
        count = min(held_out.windows(options.length),
                    max(world.size, options.eval_tokens // options.length))
        _, self.rows = options.rows_of_rank(world.size)
        together = self.rows * world.size
        count -= count % (together if count >= together else world.size)
        if not count:
            raise DataError(held_out.directory, "tokens", f"have no window of "
                            f"{options.length} for each of {world.size} ranks")
        ids, mask = held_out.read(np.arange(count)[world.rank::world.size],
                                  options.length)
        self.ids = torch.from_numpy(ids)
        sampled = (torch.from_numpy(mask) if held_out.mask == "sampled"
                   else None)
        self.scored = scored_positions(sampled, self.ids.shape)

    @torch.no_grad()
    def __call__(self, student) -> dict[str, float]:
        device = self.world.device
        total = torch.zeros(3, dtype=torch.float64, device=device)
        heads = self.teacher.head(), student.head()
        for ids, scored in zip(self.ids.split(self.rows),
                               self.scored.split(self.rows)):
            ids, scored = ids.to(device), scored.to(device)
            taught, own = (model.hidden(ids, dtype=self.dtype)[0][scored]
                           for model in (self.teacher, student))
            if len(own):
                divergence, same = token_divergence(taught, heads[0], own,
                                                    heads[1], self.chunk)
                total += torch.stack([divergence.double().sum(),
                                      same.double().sum(),
                                      scored.double().sum()])
        divergence, same, count = self.world.sum_(total).tolist()
        if not count:
            raise ValueError("held-out data without a sampled token")
        return {"kl": divergence / count, "agreement": same / count}


@dataclass(frozen=True)
class Perplexity:
    """value +/- error over `tokens` scored tokens, error one standard deviation
    as llama.cpp's perplexity has it."""

    value: float
    error: float
    tokens: int


@torch.no_grad()
def perplexity(model, tokens: Tensor, window: int = 512,
               everything: bool = False, first_token: int | None = None,
               rows: int = 16, dtype: torch.dtype | None = None,
               chunk: int = 8192) -> Perplexity:
    """Of a text's tokens [N], over all whole windows, each read by itself.

    As llama.cpp's perplexity: the tokens after a window's middle one are
    scored, and the first is replaced by `first_token` where the model adds one.
    everything: every token but a window's first is scored."""
    count = len(tokens) // window
    if not count:
        raise ValueError(f"{len(tokens)} tokens are no window of {window}")
    windows = tokens[:count * window].view(count, window)
    first = 0 if everything else window // 2
    head, losses = model.head(), []
    for ids in windows.split(rows):
        ids = ids.to(head.device)
        targets = ids[:, first + 1:].flatten()
        if first_token is not None:
            ids = ids.clone()
            ids[:, 0] = first_token
        hidden = model.hidden(ids, dtype=dtype)[0][:, first:-1].flatten(0, 1)
        for h, target in zip(hidden.split(chunk), targets.split(chunk)):
            chosen = _log_probabilities(h, head).gather(1, target[:, None])
            losses.append(-chosen.squeeze(1).double().cpu())
    loss = torch.cat(losses)
    value = math.exp(loss.mean().item())
    error = (loss.var(correction=0).item() / max(1, len(loss) - 1)) ** 0.5
    return Perplexity(value, value * error, len(loss))
