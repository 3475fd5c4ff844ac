# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A compiled model's logits against PyTorch's on the same checkpoint.

Input: a quantised checkpoint and the logits that its artifact gave for some
tokens. Output: how far they are apart. Invariant: PyTorch's are transformers'
modules in float32 on the dequantised weights, which is what the student's
forward pass multiplies by.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tbq.decoder import Decoder
from tbq.train.models import load_dequantized


@dataclass(frozen=True)
class Distance:
    """kl: mean KL(PyTorch || compiled), nats a token. agreement: share of
    tokens with the same likeliest next one. largest: of |difference| of logits.
    """

    kl: float
    agreement: float
    largest: float


def some_tokens(count: int, vocabulary: int, seed: int) -> list[int]:
    """Random ones: any token may come."""
    return np.random.default_rng(seed).integers(vocabulary, size=count).tolist()


@torch.no_grad()
def reference_logits(checkpoint: Path, ids: list[int]) -> Tensor:
    """float32 [tokens, V] of a quantised checkpoint."""
    model = load_dequantized(checkpoint, torch.device("cpu"))
    return Decoder(model).logits(torch.tensor([ids]))[0]


def distance(reference: Tensor, compiled: Tensor) -> Distance:
    log_p = torch.log_softmax(reference.double(), -1)
    log_q = torch.log_softmax(compiled.double(), -1)
    return Distance(
        (log_p.exp() * (log_p - log_q)).sum(-1).mean().item(),
        (log_p.argmax(-1) == log_q.argmax(-1)).double().mean().item(),
        (reference - compiled).abs().max().item())
