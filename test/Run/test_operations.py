# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Each float op of a step by itself against float64, on random and on edge inputs.

At most 4 units in the last place or 1e-6, relative. Relative to the result where it is a product
or a sum of positive terms; to the sum of its terms' magnitudes where they may cancel. For this
machine, for AVX2 and for the baseline, which has no fused multiply-add and no rounding
instruction. 50,000 outputs of each, a million with TBQ_LONG=1.
"""

import math
import pathlib
import platform

import numpy
import pytest

from conftest import LONG
from operation import Operation, views

CPUS = ["native", "x86-64-v3", "x86-64"]
OUTPUTS = 1_000_000 if LONG else 50_000
RELATIVE = 1e-6
LAST_PLACES = 4
SMALLEST = 2.0**-149  # below 2^-126 float32 has only multiples of it

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="code for x86-64")


@pytest.fixture(params=CPUS)
def cpu(request):
    flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    if request.param == "x86-64-v3" and not {"avx2", "fma", "bmi2", "movbe"} <= set(flags):
        pytest.skip("this CPU has no AVX2")
    return request.param


def check(found, expected, measure, magnitude=None, least=0.0):
    """`magnitude`: what an error is relative to, else the result; `least` is not counted."""
    assert numpy.isfinite(found).all()
    size = numpy.abs(expected if magnitude is None else magnitude)
    error = numpy.maximum(numpy.abs(found.astype(numpy.float64) - expected) - least, 0)
    place = numpy.spacing(size.astype(numpy.float32)).astype(numpy.float64)
    relative = numpy.divide(error, size, out=numpy.zeros_like(error), where=size > 0)
    normal = size > 2.0**-120
    measure("units in the last place", (error / place).max())
    measure("relative error", relative[normal].max())
    assert (error <= numpy.maximum(LAST_PLACES * place, RELATIVE * size)).all()


def spread(random, low, high, shape):
    """Magnitudes from 10^low to 10^high, all decades alike, both signs."""
    return random.choice([-1.0, 1.0], shape) * 10 ** random.uniform(low, high, shape)


def meets(*values):
    """Every pair of these, as two columns."""
    return numpy.stack(numpy.meshgrid(values, values), -1).reshape(-1, 2).astype(numpy.float32).T


def test_gated_activation(cpu, tmp_path, measure):
    """silu(gate) * up. Where exp(-gate) is beyond float32 the result is 0, as transformers' is:
    less than 1e-36 of `up` is lost. Where silu is subnormal, half a unit of it."""
    rows, columns = 64, 1024
    text, arena = views(gate=(rows, columns), up=(rows, columns), y=(rows, columns))
    kind = f"memref<{rows}x{columns}xf32>"
    units = rows * columns // 16
    operation = Operation(tmp_path / "op", cpu, arena, decode=f"""{text}
      %units = arith.constant {units} : index
      tbq.gated_activation %gate, %up into(%y) count(%count) range(%zero, %units)
        : ({kind}, {kind}, {kind}, index, index, index) -> ()""")  # fmt: skip
    gate, up, y = (operation.floats(rows, columns, i * rows * columns) for i in range(3))
    random = numpy.random.default_rng(0)
    edges = meets(
        0, -0.0, 1e-45, -1e-45, 1.2e-38, 1e-30, -1e-30, 1e-7, -1e-7, 0.5, -0.5, 1, -1, 10, -10,
        80, -80, 86.9, -86.9, 87.4, -87.4, 88, -88, 88.7, -88.7, 88.8, -88.8, 100, -100, 1e4, -1e4,
    )  # fmt: skip
    done, results = 0, []
    while done < OUTPUTS:
        quarter = (rows // 4, columns)
        gate[:] = numpy.concatenate([
            random.normal(0, 1, quarter), random.normal(0, 10, quarter),
            random.uniform(-100, 100, quarter), spread(random, -38, 2, quarter),
        ])  # fmt: skip
        up[:] = spread(random, -3, 3, (rows, columns))
        gate.flat[: edges.shape[1]], up.flat[: edges.shape[1]] = edges
        operation.run(count=rows)
        wide, factor = gate.astype(numpy.float64), up.astype(numpy.float64)
        with numpy.errstate(over="ignore"):
            expected = wide / (1 + numpy.exp(-wide)) * factor
        least = numpy.where(wide < -88, 1e-36, SMALLEST) * numpy.abs(factor)
        results.append((y.copy(), expected, least))
        done += y.size
    found, expected, least = map(numpy.concatenate, zip(*results))
    check(found, expected, measure, least=least)


def test_gelu(cpu, tmp_path, measure):
    """x times the share of a normal distribution below x, far into its tail too; below -13 the
    result is less than 1e-36, and may be 0."""
    rows, columns = 64, 1024
    text, arena = views(x=(rows, columns), y=(rows, columns))
    kind = f"memref<{rows}x{columns}xf32>"
    operation = Operation(tmp_path / "op", cpu, arena, decode=f"""{text}
      %units = arith.constant {rows * columns // 16} : index
      tbq.activation %x gelu into(%y) count(%count) range(%zero, %units)
        : ({kind}, {kind}, index, index, index) -> ()""")  # fmt: skip
    x, y = (operation.floats(rows, columns, i * rows * columns) for i in range(2))
    random = numpy.random.default_rng(5)
    edges = meets(0, -0.0, 1e-45, -1e-45, 1e-38, 0.5, -0.5, 1, -1, 4, -4, 12.99, -12.99, 14, -14, 15, -15,
                  16, -16, 1e4, -1e4, 1e38, -1e38).ravel()  # fmt: skip
    below = numpy.frompyfunc(lambda u: math.erfc(-u / math.sqrt(2)) / 2, 1, 1)
    done, results = 0, []
    while done < OUTPUTS:
        quarter = (rows // 4, columns)
        x[:] = numpy.concatenate([
            random.normal(0, 1, quarter), random.normal(0, 4, quarter),
            random.uniform(-15, 15, quarter), spread(random, -38, 1, quarter),
        ])  # fmt: skip
        x.flat[: edges.size] = edges
        operation.run(count=rows)
        wide = x.astype(numpy.float64)
        least = numpy.where(wide < -13, 1e-36, SMALLEST)
        results.append((y.copy(), wide * below(wide).astype(numpy.float64), least))
        done += y.size
    found, expected, least = map(numpy.concatenate, zip(*results))
    check(found, expected, measure, least=least)


@pytest.mark.parametrize("features", [64, 768, 203])
def test_layer_norm(features, cpu, tmp_path, measure):
    """Relative to the magnitudes of what is subtracted and added: x, the mean's terms and the bias."""
    rows, columns = 64, -(-features // 16) * 16
    text, arena = views(x=(rows, columns), y=(rows, columns))
    kind, packed = f"memref<{rows}x{columns}xf32>", f"!tbq.packed<1x{features}, f32, tile 1>"
    epsilon, size = numpy.float32(1e-5), 4 * columns
    operation = Operation(tmp_path / "op", cpu, arena, weights=2 * (size + 64), decode=f"""{text}
      %w = tbq.placed_weight [0] in %weights : memref<{2 * (size + 64)}xi8> : {packed}
      %b = tbq.placed_weight [{size // 64 * 64 + 64}] in %weights : memref<{2 * (size + 64)}xi8> : {packed}
      tbq.layer_norm %x, %w, %b epsilon 1.0e-5 features {features} into(%y) count(%count)
        range(%zero, %count) : ({kind}, {packed}, {packed}, {kind}, index, index, index) -> ()""")  # fmt: skip
    x, y = (operation.floats(rows, columns, i * rows * columns) for i in range(2))
    weight, bias = (
        operation.floats(1, columns, at, memory="weights") for at in (0, (size // 64 * 64 + 64) // 4)
    )
    random = numpy.random.default_rng(6)
    done, results = 0, []
    while done < OUTPUTS:
        weight[0, :features] = spread(random, -3, 3, features)
        bias[0, :features] = spread(random, -3, 3, features)
        # A scale and a mean for each row, from where epsilon is all to where it is nothing.
        scale = spread(random, -9, 9, (rows, 1))
        x[:, :features] = (random.normal(0, 1, (rows, features)) + random.normal(0, 1, (rows, 1))) * scale
        x[0] = 0
        x[1, :features] = 1e-45
        x[2, :features], x[2, features // 2] = 1e-3, 1e9  # one outlier
        x[3, :features] = spread(random, -20, 15, features)
        operation.run(count=rows)
        wide = x[:, :features].astype(numpy.float64)
        mean = wide.mean(1, keepdims=True)
        root = numpy.sqrt(((wide - mean) ** 2).mean(1, keepdims=True) + epsilon)
        weights, added = (part[0, :features].astype(numpy.float64) for part in (weight, bias))
        expected = (wide - mean) / root * weights + added
        terms = (abs(wide) + abs(wide).mean(1, keepdims=True)) / root * abs(weights) + abs(added)
        results.append((y[:, :features].copy(), expected, terms))
        assert not y[:, features:].any(), "what pads a row stays zero"
        done += rows * features
    found, expected, terms = map(numpy.concatenate, zip(*results))
    check(found, expected, measure, magnitude=terms)


@pytest.mark.parametrize("features", [64, 576, 203])
def test_rms_norm(features, cpu, tmp_path, measure):
    """Where x / root is subnormal, half a unit of it is lost, times the weight."""
    rows, columns = 64, -(-features // 16) * 16
    text, arena = views(x=(rows, columns), y=(rows, columns))
    kind, packed = f"memref<{rows}x{columns}xf32>", f"!tbq.packed<1x{features}, f32, tile 1>"
    epsilon = numpy.float32(1e-5)
    operation = Operation(tmp_path / "op", cpu, arena, weights=4 * columns, decode=f"""{text}
      %w = tbq.placed_weight [0] in %weights : memref<{4 * columns}xi8> : {packed}
      tbq.rms_norm %x, %w epsilon 1.0e-5 features {features} into(%y) count(%count)
        range(%zero, %count) : ({kind}, {packed}, {kind}, index, index, index) -> ()""")  # fmt: skip
    x, y = (operation.floats(rows, columns, i * rows * columns) for i in range(2))
    weight = operation.floats(1, columns, memory="weights")
    random = numpy.random.default_rng(1)
    done, results = 0, []
    while done < OUTPUTS:
        weight[0, :features] = spread(random, -3, 3, features)
        # A scale for each row, from where epsilon is all to where it is nothing.
        x[:, :features] = random.normal(0, 1, (rows, features)) * spread(random, -9, 9, (rows, 1))
        x[0] = 0
        x[1, :features] = 1e-45
        x[2, :features], x[2, features // 2] = 1e-3, 1e9  # one outlier
        x[3, :features] = spread(random, -30, 15, features)
        x[4, :features] = -7.25
        operation.run(count=rows)
        wide = x[:, :features].astype(numpy.float64)
        root = numpy.sqrt((wide**2).mean(1, keepdims=True) + epsilon)
        weights = numpy.broadcast_to(weight[0, :features].astype(numpy.float64), wide.shape)
        results.append((y[:, :features].copy(), wide / root * weights, SMALLEST * abs(weights)))
        assert not y[:, features:].any(), "what pads a row stays zero"
        done += rows * features
    found, expected, least = map(numpy.concatenate, zip(*results))
    check(found, expected, measure, least=least)


@pytest.mark.parametrize("width", [64, 24])
def test_rope(width, cpu, tmp_path, measure):
    """Given the table; relative to |x cos| + |y sin|, which may cancel."""
    rows, heads, half = 64, 4, width // 2
    columns, angles = heads * width, -(-width // 16) * 16
    text, arena = views(x=(rows, columns), y=(rows, columns))
    kind, packed = f"memref<{rows}x{columns}xf32>", f"!tbq.packed<{rows}x{width}, f32, tile 1>"
    bytes = 4 * rows * angles
    operation = Operation(tmp_path / "op", cpu, arena, weights=bytes, decode=f"""{text}
      %units = arith.constant {rows * heads} : index
      %w = tbq.placed_weight [0] in %weights : memref<{bytes}xi8> : {packed}
      tbq.rope %x, %w at %position heads {heads} x {width} into(%y) count(%count)
        range(%zero, %units) : ({kind}, {packed}, index, {kind}, index, index, index) -> ()""")  # fmt: skip
    x, y = (operation.floats(rows, columns, i * rows * columns) for i in range(2))
    table = operation.floats(rows, angles, memory="weights")
    random = numpy.random.default_rng(2)
    done, results = 0, []
    while done < OUTPUTS:
        turn = random.uniform(-numpy.pi, numpy.pi, (rows, half))
        turn[0] = 0
        table[:, :half], table[:, half:width] = numpy.cos(turn), numpy.sin(turn)
        x[:] = spread(random, -20, 20, (rows, columns))
        x[1] = random.normal(0, 1, columns)
        x[2, ::3] = 0
        operation.run(count=rows)
        pairs = x.astype(numpy.float64).reshape(rows, heads, 2, half)
        cos, sin = (
            part.astype(numpy.float64)[:, None, :] for part in (table[:, :half], table[:, half:width])
        )
        first, second = pairs[:, :, 0], pairs[:, :, 1]
        expected = numpy.stack([first * cos - second * sin, second * cos + first * sin], 2)
        size = numpy.stack(
            [abs(first * cos) + abs(second * sin), abs(second * cos) + abs(first * sin)], 2
        )
        results.append((y.reshape(expected.shape).copy(), expected, size))
        done += y.size
    found, expected, size = map(numpy.concatenate, zip(*results))
    check(found, expected, measure, magnitude=size)


class Attention:
    """append_cache of `tokens` tokens, and attention of the last `rows`: 4 heads on the cache's 2."""

    heads, kvHeads = 4, 2

    def __init__(self, folder, cpu, tokens, rows, width, scale):
        self.tokens, self.rows, self.width, self.scale = tokens, rows, width, scale
        padded = -(-width // 16) * 16
        sizes = [(rows, self.heads * width), *[(tokens, self.kvHeads * width)] * 2]
        shapes = [(count, -(-columns // 16) * 16) for count, columns in [*sizes, sizes[0]]]
        text, arena = views(**dict(zip("qkvy", shapes)))
        wide, narrow = (f"memref<{count}x{columns}xf32>" for count, columns in shapes[:2])
        kv = f"!tbq.cache<1 layers, {self.kvHeads} by {width}, {tokens} tokens, f32>"
        cache = 4 * self.kvHeads * -(-tokens // 16) * 16 * (width + padded)
        memory = f"memref<{cache}xi8>"
        self.operation = Operation(folder, cpu, arena, cache=cache, prefill=f"""{text}
          %units = arith.constant {tokens * self.kvHeads} : index
          tbq.append_cache %k, %v, %cache[%zero] at %position tokens %count {kv} count(%count)
            range(%zero, %units)
            : ({narrow}, {narrow}, {memory}, index, index, index, index, index, index) -> ()
          """, decode=f"""{text}
          %units = arith.constant {rows * self.heads} : index
          tbq.attention %q, %cache[%zero] at %position heads {self.heads} scale {scale:e} {kv}
            into(%y) count(%count) range(%zero, %units)
            : ({wide}, {memory}, index, index, {wide}, index, index, index) -> ()""")  # fmt: skip
        starts = numpy.cumsum([0] + [count * columns for count, columns in shapes])
        self.parts = [self.operation.floats(*shape, at) for shape, at in zip(shapes, starts)]

    def run(self, q, k, v):
        """[rows or tokens, heads, width] -> found, expected, and the sum of magnitudes."""
        for part, values in zip(self.parts, (q, k, v)):
            flat = values.reshape(len(values), -1)
            part[:, : flat.shape[1]] = flat
        self.operation.run("prefill", count=self.tokens)
        self.operation.run("decode", position=self.tokens - self.rows, count=self.rows)
        found = self.parts[3][:, : self.heads * self.width].reshape(q.shape).copy()
        sharing = self.heads // self.kvHeads
        q, k, v = (part.astype(numpy.float32).astype(numpy.float64) for part in (q, k, v))
        k, v = (part.repeat(sharing, 1) for part in (k, v))
        scores = numpy.einsum("thi,shi->hts", q, k) * numpy.float32(self.scale)
        later = numpy.triu(numpy.ones((self.rows, self.tokens), bool), 1 + self.tokens - self.rows)
        scores[:, later] = -numpy.inf
        weights = numpy.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        expected, size = (numpy.einsum("hts,shi->thi", weights, part) for part in (v, abs(v)))
        return found, expected, size


@pytest.mark.parametrize("tokens, rows", [(250, 250), (4000, 8)], ids=["short", "long"])
def test_softmax(tokens, rows, cpu, tmp_path, measure):
    """Attention whose scores are exact: a key's first feature, taken by a query of 1, 0, 0 ..."""
    width = 16
    attention = Attention(tmp_path / "op", cpu, tokens, rows, width, 1.0)
    random = numpy.random.default_rng(3)
    q = numpy.zeros((rows, attention.heads, width))
    q[:, :, 0] = 1
    shape = (tokens, attention.kvHeads)
    ramp = numpy.linspace(0, 40, tokens)[:, None]
    kinds = [
        lambda: random.normal(0, 3, shape),
        lambda: random.normal(0, 40, shape),
        lambda: spread(random, -20, 29, shape),
        lambda: ramp + random.normal(0, 0.1, shape),  # each block a new maximum
        lambda: ramp[::-1] - 1e3 + random.normal(0, 0.1, shape),
        lambda: random.choice([0, -0.0, 1e-45, 80, 87.3, -87.4, 88.7, -88.8, -104, 1e4], shape),
        lambda: numpy.zeros(shape),
    ]
    done, results = 0, []
    while done < OUTPUTS:
        for kind in kinds:
            k = numpy.zeros((tokens, attention.kvHeads, width))
            k[:, :, 0] = kind()
            results.append(attention.run(q, k, random.exponential(1, k.shape)))
            done += q.size
    found, expected, _ = map(numpy.concatenate, zip(*results))
    check(found, expected, measure)


@pytest.mark.parametrize("width", [64, 20])
def test_attention(width, cpu, tmp_path, measure):
    """Random queries and keys; relative to the weighted sum of the values' magnitudes."""
    tokens = 90
    attention = Attention(tmp_path / "op", cpu, tokens, tokens, width, 1 / width**0.5)
    random = numpy.random.default_rng(4)
    done, results = 0, []
    while done < OUTPUTS:
        q = random.normal(0, 1, (tokens, attention.heads, width))
        k, v = random.normal(0, 1, (2, tokens, attention.kvHeads, width))
        results.append(attention.run(q, k, v * spread(random, -3, 3, (1, attention.kvHeads, 1))))
        done += q.size
    found, expected, size = map(numpy.concatenate, zip(*results))
    check(found, expected, measure, magnitude=size)
