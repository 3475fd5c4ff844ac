# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Sampling by the Gumbel maximum: the distribution, and what it depends on."""

import math

import pytest
import torch

from tbq.data import sampler
from tbq.data.sampler import choose, gumbel, sample

POSITION = torch.tensor([7])


def keys(count, seed=1):
    return torch.randint(1 << 32, (count,),
                         generator=torch.Generator().manual_seed(seed))


def chi_square(counts, probability):
    """(statistic - freedom) / standard deviation, about normal. Tokens that
    are expected fewer than 6 times count as one."""
    expected = probability * counts.sum()
    rare = expected < 6
    counts, expected = (torch.cat([x[~rare], x[rare].sum()[None]])
                        for x in (counts, expected))
    if expected[-1] < 6:  # counted with the least of the others
        counts, expected = (torch.cat([x[:-2], x[-2:].sum()[None]])
                            for x in (counts, expected))
    freedom = len(counts) - 1
    statistic = ((counts - expected).square() / expected).sum()
    return (statistic.item() - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize("temperature", [0.6, 1.0])
def test_tokens_have_their_probabilities(temperature):
    logits = torch.randn(60, generator=torch.Generator().manual_seed(0))
    rows = 20000
    tokens = choose(logits.expand(rows, -1), torch.full((rows,), temperature),
                    keys(rows))
    counts = torch.bincount(tokens, minlength=60).double()
    right = torch.softmax(logits.double() / temperature, -1)
    assert abs(chi_square(counts, right)) < 4
    other = torch.softmax(logits.double() / (temperature + 0.15), -1)
    assert chi_square(counts, other) > 8


def test_successive_positions_are_independent():
    """Pairs of tokens of one sequence, at two positions, of 8 equal ones."""
    rows, head = 8000, torch.zeros(8, 4)
    hidden, temperature, key = torch.zeros(rows, 4), torch.ones(rows), keys(rows)
    first, second = (sample(hidden, head, temperature, key, torch.tensor([p]))
                     for p in (3, 4))
    counts = torch.bincount(8 * first + second, minlength=64).double()
    assert abs(chi_square(counts, torch.full((64,), 1 / 64).double())) < 4


def test_unlikely_tokens_are_not_lost():
    """20,000 tokens that share 3 %: their noise must be fine where it counts."""
    columns, rows = 20000, 600
    logits = torch.full((columns,), math.log(0.03 / (columns - 1)))
    logits[0] = math.log(0.97)
    rare = sum(int((choose(logits.expand(100, -1), torch.ones(100),
                           keys(100, seed)) != 0).sum()) for seed in range(6))
    assert 0.01 * rows < rare < 0.05 * rows


def test_noise_is_standard_gumbel():
    noise = gumbel(keys(50), 20000).double()
    assert noise.isfinite().all()
    assert noise.mean().item() == pytest.approx(0.57722, abs=0.005)
    assert noise.var().item() == pytest.approx(math.pi**2 / 6, abs=0.01)
    rows = noise - noise.mean()
    between = (rows[1:] * rows[:-1]).mean(-1) / noise.var()
    assert between.abs().max() < 4 / math.sqrt(20000)
    along = (rows[:, 1:] * rows[:, :-1]).mean() / noise.var()
    assert abs(along) < 4 / 1000


def test_temperature_zero_is_the_largest():
    generator = torch.Generator().manual_seed(2)
    hidden = torch.randn(9, 5, generator=generator)
    head = torch.randn(70, 5, generator=generator)
    temperature = torch.tensor([0.0, 1.0]).repeat(5)[:9]
    tokens = sample(hidden, head, temperature, keys(9), POSITION)
    greedy = (hidden @ head.T).argmax(-1)
    assert torch.equal(tokens[::2], greedy[::2])
    assert not torch.equal(tokens, greedy)


def test_a_token_depends_on_its_own_row_alone():
    generator = torch.Generator().manual_seed(2)
    hidden = torch.randn(40, 5, generator=generator)
    head = torch.randn(70, 5, generator=generator)
    temperature, key = torch.ones(40), keys(40)
    tokens = sample(hidden, head, temperature, key, POSITION)
    assert torch.equal(tokens, sample(hidden, head, temperature, key, POSITION,
                                      chunk=7))
    half = sample(hidden[20:], head, temperature[20:], key[20:], POSITION)
    assert torch.equal(tokens[20:], half)
    for other in (sample(hidden, head, temperature, key, POSITION + 1),
                  sample(hidden, head, temperature, keys(40, 2), POSITION)):
        assert not torch.equal(tokens, other)


def test_compiled_choice_is_the_same(monkeypatch):
    traced = torch.compile(choose, dynamic=False, fullgraph=True,
                           backend="aot_eager")
    monkeypatch.setattr(sampler, "compiled", lambda function: traced)
    hidden, head = torch.zeros(10, 4), torch.zeros(30, 4)
    arguments = hidden, head, torch.ones(10), keys(10), POSITION
    assert torch.equal(sample(*arguments, compile=True), sample(*arguments))


def test_half_precision_logits_are_float32():
    hidden, head = torch.ones(2, 4).bfloat16(), torch.ones(3, 4).bfloat16()
    assert sampler.logits_of(hidden, head).dtype == torch.float32
