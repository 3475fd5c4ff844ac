# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The teacher's own text, many sequences in lockstep.

Input:  a float llama, how sequences start (tbq.data.starts), seed and rank.
Output: token rows with a "sampled" mask.
Invariant: sequences are a function of the model, the kinds, batch, length, seed
and rank alone; the same code runs on a CPU, operation by operation, and on a
GPU as one CUDA graph, replayed without a word from the host until a batch is
done.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from tbq.data.decoder_step import DecoderStep
from tbq.data.sampler import sample
from tbq.data.sequences import Sequences, Starts
from tbq.data.shards import ShardWriter
from tbq.data.starts import StartSource
from tbq.data.template import TurnTokens


class TextGenerator:
    """`write` fills a batch of `batch` sequences of `length` tokens. fast:
    compile and capture (CUDA)."""

    def __init__(self, model: nn.Module, turns: TurnTokens | None, batch: int,
                 length: int, dtype: torch.dtype = torch.float32,
                 fast: bool = False):
        self.length, self.fast = length, fast
        # The last token is never fed.
        self.step = DecoderStep(model, batch, length - 1, dtype, compile=fast)
        device = self.step.position.device
        self.sequences = Sequences(batch, length, turns, device)
        self.temperature = torch.zeros(batch, device=device)
        self.key = torch.zeros(batch, dtype=torch.int64, device=device)
        self.graph: torch.cuda.CUDAGraph | None = None

    def _advance(self) -> None:
        """The token at the current position in, the next one out."""
        position = self.step.position
        hidden = self.step(self.sequences.tokens(position))
        position.add_(1)
        choice = sample(hidden, self.step.head, self.temperature, self.key,
                        position, compile=self.fast)
        self.sequences.advance(position, choice)

    def _capture(self) -> None:
        """Compilers and libraries set up what they need in a first run, which
        must not be captured."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self._advance()
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self._advance()

    @torch.no_grad()
    def write(self, starts: Starts, temperature: np.ndarray,
              key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(ids, sampled) [batch, length]. key: 32 random bits a sequence."""
        if self.fast and self.graph is None:
            self._capture()
        self.step.reset()
        self.sequences.begin(starts)
        self.temperature.copy_(torch.from_numpy(temperature))
        self.key.copy_(torch.from_numpy(key))
        advance = self.graph.replay if self.fast else self._advance
        for _ in range(self.length - 1):
            advance()
        # Copies, on the CPU too: the next batch overwrites these.
        return (self.sequences.ids.to("cpu", copy=True).numpy(),
                self.sequences.sampled.to("cpu", copy=True).numpy())

    def least_bytes(self) -> int:
        """What a batch must move: of each step its part of the cache, the
        weights, and the float32 logits written and read once."""
        step = self.step
        weights = step.head.nbytes + sum(
            tensor.nbytes for layer in step.layers
            for tensor in vars(layer).values() if tensor is not None)
        logits = 2 * 4 * len(self.key) * len(step.head)
        steps = self.length - 1
        return (steps * (weights + logits)
                + step.cache_bytes() * steps * (steps + 1) // 2)


def copy_bandwidth(device: torch.device | str) -> float:
    """Bytes read and written a second by the device's own copy."""
    source = torch.zeros(1 << (28 if "cuda" in str(device) else 24),
                         device=device)
    wait: Callable[[], None] = (torch.cuda.synchronize if source.is_cuda
                                else lambda: None)
    best = float("inf")
    for _ in range(5):
        wait()
        begin = time.perf_counter()
        source.clone()
        wait()
        best = min(best, time.perf_counter() - begin)
    return 2 * source.nbytes / best


def generate(generator: TextGenerator, starts: StartSource, sequences: int,
             seed: int, rank: int, writer: ShardWriter,
             report: Callable[[int, float], None]) -> dict:
    """Writes `sequences` rows; calls report(rows so far, seconds of the last
    batch). Returns facts: tokens a second and the share that was sampled."""
    batch, made, sampled, seconds = len(generator.key), 0, 0, 0.0
    while made < sequences:
        random = np.random.default_rng([seed, rank, made])
        drawn, temperature = starts.draw(batch, random)
        begin = time.perf_counter()
        ids, mask = generator.write(drawn, temperature,
                                    random.integers(1 << 32, size=batch))
        elapsed = time.perf_counter() - begin
        rows = min(batch, sequences - made)
        writer.append(ids[:rows], mask[:rows])
        made += rows
        sampled += int(mask[:rows].sum())
        seconds += elapsed
        report(made, elapsed)
    tokens = made * generator.length
    return {"tokens_per_second": round(tokens / seconds),
            "sampled_share": round(sampled / tokens, 4)}
