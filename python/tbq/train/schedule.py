# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Rates and loss weights as functions of the step alone.

Invariant: of N steps, numbered from 0, the last one's rate is exactly 0 (unless
it is the only one), and so is the last one's weight where it decays.
"""

from __future__ import annotations

import math


def rate_at(step: int, steps: int, warmup: float, shape: str) -> float:
    """Factor of the learning rate, 0 to 1: up in a straight line over the share
    `warmup` of the steps, then down, "linear" or "cosine"."""
    rising = round(warmup * steps)
    if step >= steps - 1 > 0:
        return 0.0
    if step < rising:
        return (step + 1) / rising
    done = (step - rising) / max(steps - 1 - rising, 1)
    return 1 - done if shape == "linear" else (1 + math.cos(math.pi * done)) / 2


def tail_at(step: int, steps: int, share: float) -> float:
    """Factor of a weight, 0 to 1: 1 until the last `share` of the steps, over
    which it falls in a straight line."""
    falling = round(share * steps)
    if not falling:
        return 1.0
    return min(1.0, (steps - 1 - step) / falling)


def steps_in(seconds: float, spent: float, timed: list[float]) -> int:
    """Steps that fit into `seconds` of which `spent` are gone, at the mean of
    the `timed` steps; at least 1."""
    mean = sum(timed) / len(timed)
    return max(1, int((seconds - spent) / mean))
