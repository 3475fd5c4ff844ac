# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The processes of a run, as torchrun starts them; one without it.

Input: torchrun's environment. Output: a World, whose operations every rank
calls in the same order. Invariant: all ranks hold the same parameters after
every step, and whatever steers the loop (a count of steps, a wish to stop) is
one rank's or all ranks' word, never each rank's own clock.

Parameters are copied, and their gradients averaged in buckets after the
backward pass; or, with `shard_blocks`, each block's float32 masters are sharded
(FSDP2), gathered in float32 before the quantiser sees them, and their gradients
averaged by it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from tbq.decoder import Decoder

BUCKET_BYTES = 64 << 20


class World:
    """rank of size; device: this rank's. Ends with close()."""

    def __init__(self, device: str = "auto"):
        self.rank = int(os.environ.get("RANK", 0))
        self.size = int(os.environ.get("WORLD_SIZE", 1))
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device)
        if device == "cuda":
            local = int(os.environ.get("LOCAL_RANK", 0))
            self.device = torch.device("cuda", local)
            torch.cuda.set_device(self.device)
        if self.size > 1:
            self._join("nccl" if device == "cuda" else "gloo")

    def _join(self, backend: str) -> None:
        """After a restart torchrun may serve the same store again, in which the
        addresses of killed processes still stand: each attempt has its own."""
        store, rank, size = next(dist.rendezvous("env://"))
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        dist.init_process_group(
            backend, store=dist.PrefixStore(f"attempt-{attempt}", store),
            rank=rank, world_size=size)

    @property
    def first(self) -> bool:
        return self.rank == 0

    def close(self) -> None:
        if self.size > 1:
            dist.destroy_process_group()

    def barrier(self) -> None:
        if self.size > 1:
            self.sum_(torch.zeros(1, device=self.device))

    def sum_(self, tensor: Tensor) -> Tensor:
        """The sum over ranks, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def mean_(self, tensor: Tensor) -> Tensor:
        return self.sum_(tensor).div_(self.size)

    def from_first_(self, tensor: Tensor) -> None:
        """Rank 0's values, in place."""
        if self.size > 1:
            # As bytes: NCCL does not know every type.
            dist.broadcast(tensor.view(-1).view(torch.uint8), 0)

    def word_of_first(self, number: int) -> int:
        """Rank 0's `number`, on every rank."""
        if self.size == 1:
            return number
        tensor = torch.tensor([number], device=self.device)
        dist.broadcast(tensor, 0)
        return int(tensor.item())

    def any(self, wish: bool) -> bool:
        """Whether any rank wishes so. Waits for the device."""
        if self.size == 1:
            return wish
        return bool(self.sum_(torch.tensor([float(wish)],
                                           device=self.device)).item())

    def gather_bytes(self, values: Tensor) -> list[Tensor]:
        """uint8 [n] of every rank, in rank order, on the CPU."""
        if self.size == 1:
            return [values]
        parts = [torch.empty_like(values, device=self.device)
                 for _ in range(self.size)]
        dist.all_gather(parts, values.to(self.device))
        return [part.cpu() for part in parts]

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Averages the gradients that no sharding averages. A parameter
        without one is without one on every rank."""
        if self.size == 1:
            return
        bucket, filled = [], 0
        for gradient in (p.grad for p in parameters if p.grad is not None):
            if isinstance(gradient, DTensor):
                continue
            bucket.append(gradient)
            filled += gradient.numel() * gradient.element_size()
            if filled >= BUCKET_BYTES:
                self._average(bucket)
                bucket, filled = [], 0
        if bucket:
            self._average(bucket)

    def _average(self, bucket: list[Tensor]) -> None:
        flat = self.mean_(torch.cat([g.flatten() for g in bucket]))
        parts = flat.split([g.numel() for g in bucket])
        torch._foreach_copy_(bucket, [part.view_as(g) for part, g
                                      in zip(parts, bucket)])


class _Block(nn.Module):
    """A decoder layer whose call runs the decoder's own block, so that FSDP's
    hooks surround it."""

    def __init__(self, run: Callable[..., Tensor], layer: nn.Module):
        super().__init__()
        self.run, self.layer = run, layer

    def forward(self, hidden: Tensor, *positions: Tensor) -> Tensor:
        return self.run(self.layer, hidden, *positions)


class _Stack(nn.Module):
    """All blocks: the root that lets FSDP order what it gathers."""

    def __init__(self, decoder: Decoder):
        super().__init__()
        self.blocks = nn.ModuleList(_Block(decoder.run, layer)
                                    for layer in decoder.blocks)

    def forward(self, hidden: Tensor, *positions: Tensor) -> list[Tensor]:
        outputs = []
        for block in self.blocks:
            hidden = block(hidden, *positions)
            outputs.append(hidden)
        return outputs


def shard_blocks(decoder: Decoder, world: World) -> None:
    """Shards every block's parameters over all ranks; embedding, final norm and
    head stay copied. No mixed precision policy: it would cast latents and
    scales before the quantiser."""
    mesh = init_device_mesh(world.device.type, (world.size,))
    stack = _Stack(decoder)
    for block in stack.blocks:
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    fully_shard(stack, mesh=mesh)
    decoder.stack = stack


def whole(tensor: Tensor) -> Tensor:
    """The tensor without its sharding; every rank must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
