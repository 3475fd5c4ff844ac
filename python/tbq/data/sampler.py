# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A token from each row of hidden states, in one pass over the logits.

Input:  hidden states [B, d], head [V, d], a temperature and a key for each row.
Output: tokens [B], each drawn from softmax(logits / temperature); temperature
        0 is the largest logit.
Method: the Gumbel maximum: argmax of logits + temperature * g, where g is
-log of an exponential variate, has that distribution, and needs no sum and no
second pass. Logits are float32 and exist for `chunk` rows at a time.
Invariant: a token is a function of its row's logits, temperature and key,
whatever the batch, the chunk and the device's random state: noise is a hash of
(key, column). Integers stay below 2^63, so that no product wraps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tbq.data.decoder_step import compiled

_WORD = 0xFFFFFFFF
# Odd, by the golden ratio of 2^32: spreads small integers. Below 2^31, since a
# compiled kernel may count columns in 32 bits; what wraps there is masked off.
_STRIDE = 0x61C88647


def mix(x: Tensor) -> Tensor:
    """A bijection of 32-bit words, held in int64, that avalanches: xor-shift
    and multiply rounds, as in murmur's finaliser."""
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _WORD
    x = ((x ^ (x >> 15)) * 0x045D9F3B) & _WORD
    return x ^ (x >> 16)


def gumbel(key: Tensor, columns: int) -> Tensor:
    """Standard Gumbel noise [B, columns] float32 for 32-bit keys [B].

    By log1p, whose result is finest near 0: there the exponential variates lie
    that make an unlikely token win. The clamp keeps the noise finite."""
    column = torch.arange(columns, device=key.device)
    word = mix((column * _STRIDE + key.unsqueeze(-1)) & _WORD)
    uniform = ((word.float() + 0.5) * 2.0**-32).clamp(max=1 - 2.0**-24)
    return -torch.log(-torch.log1p(-uniform))


def choose(logits: Tensor, temperature: Tensor, key: Tensor) -> Tensor:
    """logits float32 [B, V], temperature [B], key [B] -> tokens [B]."""
    noise = gumbel(key, logits.shape[-1])
    return (logits + temperature.unsqueeze(-1) * noise).argmax(-1)


def logits_of(hidden: Tensor, head: Tensor) -> Tensor:
    """float32 [B, V]; not rounded to the operands' type on the way where the
    device can do that."""
    if hidden.is_cuda and hidden.dtype != torch.float32:
        return torch.mm(hidden, head.T, out_dtype=torch.float32)
    return (hidden @ head.T).float()


@torch.no_grad()
def sample(hidden: Tensor, head: Tensor, temperature: Tensor, key: Tensor,
           position: Tensor, chunk: int = 1024,
           compile: bool = False) -> Tensor:
    """Tokens [B]. key [B]: 32 random bits of each sequence; position [1] makes
    them other bits at every step."""
    key = mix(key ^ mix(position * _STRIDE & _WORD))
    run = compiled(choose) if compile else choose
    return torch.cat([
        run(logits_of(h, head), t, k) for h, t, k in
        zip(hidden.split(chunk), temperature.split(chunk), key.split(chunk))])
