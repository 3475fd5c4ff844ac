# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What only a GPU runs: captured graphs, compiled kernels, bfloat16 products.
Skipped without one."""

import numpy as np
import pytest
import torch

from some_llama import some_ids, some_llama
from tbq.data.decoder_step import DecoderStep
from tbq.data.generate import TextGenerator, copy_bandwidth
from tbq.data.sampler import choose, logits_of
from tbq.data.sequences import Starts
from tbq.data.template import TurnTokens
from tbq.distill.features import off_loss
from tbq.distill.logits import LogitWeights, distillation_loss
from test_sampler import chi_square, keys

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(),
                                reason="needs a GPU")
TURNS = TurnTokens([10, 11], 2, [12, 13, 14], 3, [15])


@pytest.mark.parametrize("length", [34, 140])
def test_a_replayed_graph_writes_what_the_cpu_writes(length):
    """Greedy and sampled rows, conversations and text, two batches."""
    # Heads of 16, the smallest that the kernel takes.
    model, batch = some_llama(hidden=64, positions=256), 64
    kinds = [i % 2 == 0 for i in range(batch)]
    starts = Starts([[10, 11] if chat else [7] for chat in kinds], kinds)
    temperature = np.where(np.arange(batch) % 4 < 2, 0, 1).astype(np.float32)
    slow = TextGenerator(model, TURNS, batch, length)
    wanted = [slow.write(starts, temperature, keys(batch, seed).numpy())
              for seed in (1, 2)]
    fast = TextGenerator(model.cuda(), TURNS, batch, length, fast=True)
    for seed, (ids, sampled) in zip((1, 2), wanted):
        got_ids, got_sampled = fast.write(starts, temperature,
                                          keys(batch, seed).numpy())
        # A near tie may fall otherwise, and takes the rest of its row along.
        same = (got_ids == ids).all(-1)
        assert same.mean() > 0.9
        assert np.array_equal(got_sampled[same], sampled[same])


def test_steps_in_bfloat16_are_near_float32():
    """At the first and last position of blocks of the cache, and between."""
    model = some_llama(hidden=64, positions=256)
    ids = some_ids(8, 140)
    with torch.no_grad():
        wanted = model(ids).logits
    step = DecoderStep(model.cuda(), 8, 140, torch.bfloat16, compile=True)
    for at in range(140):
        hidden = step(ids[:, at].cuda())
        step.position.add_(1)
        if at in (0, 1, 62, 63, 64, 65, 127, 128, 139):
            logits = logits_of(hidden, step.head)
            assert logits.dtype == torch.float32
            error = (logits.cpu() - wanted[:, at]).norm()
            assert error < 0.05 * wanted[:, at].norm(), at


def test_compiled_choice_has_its_probabilities():
    rows = 20000
    logits = torch.randn(60, generator=torch.Generator().manual_seed(0)).cuda()
    run = torch.compile(choose, dynamic=False)
    tokens = run(logits.expand(rows, -1).contiguous(),
                 torch.ones(rows).cuda(), keys(rows).cuda())
    counts = torch.bincount(tokens, minlength=60).double()
    assert abs(chi_square(counts, torch.softmax(logits.double(), -1))) < 4


def test_compiled_losses_in_bfloat16():
    generator = torch.Generator().manual_seed(3)
    make = lambda *shape: torch.randn(*shape, generator=generator)
    values = [make(100, 64), make(500, 64), make(100, 64), make(500, 64)]
    labels = torch.randint(500, (100,), generator=generator)
    weights = LogitWeights(ce=0.2, kd=1, dad=0.1)
    results = []
    for device, dtype in (("cpu", torch.float32), ("cuda", torch.bfloat16)):
        hidden, head, *teacher = (0.3 * x.to(device) for x in values)
        hidden = hidden.to(dtype).requires_grad_()
        head.requires_grad_()
        loss, _ = distillation_loss(
            hidden, head, *(x.to(dtype) for x in teacher), labels.to(device),
            weights, chunk=30, compile=device == "cuda")
        loss.backward()
        results.append([x.detach().float().cpu()
                        for x in (loss, hidden.grad, head.grad)])
    for wanted, got in zip(*results):
        assert (got - wanted).norm() < 0.03 * wanted.norm()


def test_compiled_features():
    student = [torch.randn(2, 5, 64).cuda().requires_grad_() for _ in range(3)]
    teacher = [torch.randn(2, 5, 64).cuda() for _ in range(3)]
    gradients = []
    for compile in (False, True):
        off_loss(student, teacher, skip_first=True, compile=compile).backward()
        gradients.append([x.grad for x in student])
        for x in student:
            x.grad = None
    for plain, compiled in zip(*gradients):
        torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-7)


def test_bandwidth_is_a_gpus():
    assert copy_bandwidth("cuda") > 1e11
