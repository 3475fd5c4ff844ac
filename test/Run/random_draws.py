# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a seed of random_graphs.py draws: decisions, sizes and the numbers of weights.

Input:  a seed, and the decisions that are to be others than it draws, by name.
Output: numbers, true or false, and tensors, in the order in which they are asked for.
Holds:  the seed decides everything. A decision that is cut leaves the draws of all other weights
        as they are: each begins where it begins in the whole graph.
"""

import contextlib
import random

import torch

from tbq import checkpoint

LARGEST_SIZE = 130
DRAWS = 4  # of sizes by one seed
LARGEST = torch.finfo(torch.float16).max


def deck(seed):
    """The sizes that a seed draws: its part of shuffled lists of 1..LARGEST_SIZE."""
    for draw in range(seed * DRAWS, (seed + 1) * DRAWS):
        order = list(range(1, LARGEST_SIZE + 1))
        random.Random(draw // LARGEST_SIZE).shuffle(order)
        yield order[draw % LARGEST_SIZE]


class Draws:
    """The streams of one seed. whole: the same seed's, drawn without a cut."""

    def __init__(self, seed, whole=None, cut=None):
        self.seed = seed
        self.random = random.Random(f"graph {seed}")
        self.generator = torch.Generator().manual_seed(seed)
        self.sizes = deck(seed)
        self.whole, self.cut = whole, cut or {}
        self.decisions, self.least, self.marks = {}, {}, {}

    def decide(self, name, drawn, least=0):
        """What is drawn, unless it is cut; `least` is the simplest that it can be."""
        if self.whole:
            drawn = self.cut.get(name, self.whole.decisions[name])
        self.decisions[name], self.least[name] = drawn, type(drawn)(least)
        return drawn

    def mark(self, name):
        """The streams go on as they did here in the whole graph."""
        if self.whole:
            self.random.setstate(self.whole.marks[name][0])
            self.generator.set_state(self.whole.marks[name][1])
        else:
            self.marks[name] = self.random.getstate(), self.generator.get_state()

    @contextlib.contextmanager
    def aside(self, name):
        """Streams of this name alone: what is drawn from them moves no other, cut or whole."""
        kept = self.random, self.generator
        self.random = random.Random(f"{name} of {self.seed}")
        self.generator = torch.Generator().manual_seed(self.random.getrandbits(60))
        yield
        self.random, self.generator = kept

    def chance(self, probability):
        return self.random.random() < probability

    def noise(self, *shape):
        return torch.randn(shape, generator=self.generator)

    def bits(self, *shape, digits=2):
        return torch.randint(0, digits, shape, generator=self.generator, dtype=torch.uint8)

    def coefficients(self, *shape, tame):
        """float16, now and then 0, negative, the smallest or the largest there is."""
        values = self.noise(*shape).abs() * 0.3 + 0.01
        if self.chance(0.3):
            values[self.bits(*shape, digits=4) == 0] *= -1
        for extreme in (0.0, 2.0**-24, *(() if tame else (LARGEST, -LARGEST))):
            if self.chance(0.1):
                values[self.bits(*shape, digits=8) == 0] = extreme
            if self.chance(0.02):
                values[:] = extreme
        return values.to(torch.float16)

    def digits(self, *shape, count=2):
        """Random, or all the same: 0, or the largest."""
        draw = self.random.random()
        if draw < 0.2:
            return torch.full(shape, 0 if draw < 0.1 else count - 1, dtype=torch.uint8)
        return self.bits(*shape, digits=count)

    def salient(self, rows, columns, tame):
        fraction = self.random.choice([0.0, 0.01, 0.1, 0.3])
        mask = torch.rand(rows, columns, generator=self.generator) < fraction
        if self.chance(0.2):
            mask[0] = self.chance(0.5)
        codes = torch.randint(-128, 128, (int(mask.sum()),), generator=self.generator).to(torch.int8)
        if self.chance(0.2):
            codes[:] = self.random.choice([-128, 127])
        zeros = torch.randint(-128, 128, (rows,), generator=self.generator).to(torch.int16)
        scale = self.coefficients(rows, tame=tame)
        return checkpoint.Salient(mask, codes, scale / (64 if tame else 1), self.random.choice([None, zeros]))

    def quantised(self, name, scheme, rows, columns, group, tame):
        shape = (rows, -(-columns // group))
        scale = self.coefficients(*((2, *shape) if scheme == "dual-binary" else shape), tame=tame)
        if scheme == "dual-binary":
            return checkpoint.DualBinaryLinear(self.digits(2, rows, columns), scale, group)
        shift = self.random.choice([None, self.coefficients(*shape, tame=tame)])
        if not self.decide(f"{name}.shift", shift is not None):
            shift = None
        if scheme == "ternary":
            codes = self.digits(rows, columns, count=3).to(torch.int8) - 1
            return checkpoint.TernaryLinear(codes, scale, shift, group)
        bits, salient = self.digits(rows, columns), None
        if self.decide(f"{name}.salient", self.chance(0.6)):
            salient = self.salient(rows, columns, tame)
            bits[salient.mask] = 0
        return checkpoint.BinaryLinear(bits, scale, shift, group, salient)
