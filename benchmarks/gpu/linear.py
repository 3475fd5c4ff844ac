# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times one linear alone on an NVIDIA GPU, launch by launch, its weights read from device memory.

Input:  shapes NxK, tokens, tbqc; or, with --kernels, a folder that --compile filled elsewhere.
Output: a table of microseconds, GB/s or Tops/s a shape; --json, the same with the GPU's name.
Holds:  launches take weights in turn that together are more than any L2 cache; a time is the median
        over launches of a CUDA graph of LAUNCHES of them. Before that, one token of @decode and of
        @prefill must give the same bits, and numbers that are not all alike.
"""

import argparse
import json
import pathlib
import statistics
import sys

import numpy

import cuda
from linear_module import GROUP, Linear, align, compileLinear, toBits

# Those that bitnet.cpp's kernel is for (gpu/bitnet_kernels), then LLaMA 8B's.
SHAPES = ("2560x2560 3840x2560 13824x2560 2560x6912 3200x3200 4800x3200 20480x3200 3200x10240 5120x27648 "
          "55296x5120 6144x4096 4096x4096 28672x4096 4096x14336")  # fmt: skip
FAR_BYTES, LAUNCHES, REPETITIONS = 512 << 20, 64, 20


def parseShape(text):
    rows, columns = map(int, text.split("x"))
    if rows % 8 or columns % GROUP:
        raise argparse.ArgumentTypeError(f"{text}: rows come by 8, columns by {GROUP}")
    return rows, columns


def folderOf(root, linear):
    return root / f"{linear.rows}x{linear.columns}x{linear.tokens}"


def prepare(linear, arguments):
    folder = folderOf(arguments.kernels, linear)
    ptx, sharedBytes = compileLinear(linear, arguments.tbqc, arguments.gpu_arch, folder)
    (folder / "launch.json").write_text(json.dumps({"shared_bytes": sharedBytes}))
    return ptx, sharedBytes


def makeWeights(linear, random):
    """Any code, and coefficients that leave numbers small."""
    tiles = linear.tiles
    return numpy.concatenate([
        random.integers(0, 256, (tiles, size), numpy.uint8) if areCodes
        else random.normal(0, 0.01, (tiles, size // 2)).astype(numpy.float16).view(numpy.uint8)
        for size, areCodes in linear.parts
    ], axis=1)  # fmt: skip


class Measured:
    """A linear's memory and kernels on the GPU."""

    def __init__(self, gpu, linear, ptx, sharedBytes):
        self.gpu, self.linear, self.sharedBytes = gpu, linear, sharedBytes
        random = numpy.random.default_rng(1)
        self.stride = align(linear.bytes, 256)
        self.copies = max(2, min(LAUNCHES, -(-FAR_BYTES // self.stride)))
        self.weights = gpu.allocate(self.stride * self.copies + 256)
        weights = makeWeights(linear, random)
        for copy in range(self.copies):
            gpu.write(self.weights, copy * self.stride, weights)
        self.arena, self.barrier = gpu.allocate(linear.arenaBytes + 256), gpu.allocate(4096)
        digits = random.integers(-127, 128, (max(linear.tokens, 2), linear.columns), numpy.int8)
        sums = digits.reshape(len(digits), linear.groups, GROUP).sum(2, dtype=numpy.int32)
        self.sums = numpy.zeros((len(digits), align(linear.groups, 16)), numpy.int32)
        self.sums[:, : linear.groups] = sums
        self.digits, self.scales = digits, numpy.full((len(digits), 16), 0.01, numpy.float32)
        module = gpu.load(ptx)
        self.functions = {name: gpu.function(module, name, sharedBytes) for name in ("decode", "prefill")}

    def fill(self, tokens):
        digits = toBits(self.digits[:1]) if tokens == 1 else self.digits
        for offset, rows in zip(self.linear.places(tokens), (digits, self.sums, self.scales)):
            self.gpu.write(self.arena, offset, numpy.ascontiguousarray(rows[:tokens]))

    def launch(self, name, tokens, copy=0):
        self.gpu.launch(self.functions[name], self.sharedBytes,
                        (self.arena.value, self.weights.value + copy * self.stride, 0, 0, 0, 0, tokens, tokens,
                         self.barrier.value))

    def results(self, name, tokens, count):
        self.fill(tokens)
        self.launch(name, count)
        rows = numpy.empty((tokens, self.linear.rows), numpy.float32)
        return self.gpu.read(self.arena, self.linear.places(tokens)[3], rows)[:count]

    def check(self):
        one = self.results("decode", 1, 1)
        many = self.results("prefill", len(self.digits), len(self.digits))
        if one.tobytes() != many[:1].tobytes() or not numpy.isfinite(many).all() or one.std() == 0:
            raise SystemExit(f"linear: {self.linear}: decode and prefill differ, or are no numbers")

    def time(self):
        name, tokens = ("decode", 1) if self.linear.tokens == 1 else ("prefill", self.linear.tokens)
        self.fill(max(tokens, 1) if name == "decode" else len(self.digits))

        def work():
            for launch in range(LAUNCHES):
                self.launch(name, tokens, launch % self.copies)

        return [time / LAUNCHES for time in self.gpu.microseconds(work, REPETITIONS)]

    def free(self):
        for pointer in (self.weights, self.arena, self.barrier):
            self.gpu.free(pointer)


def measure(gpu, linear, ptx, sharedBytes):
    measured = Measured(gpu, linear, ptx, sharedBytes)
    measured.check()
    times = measured.time()
    measured.free()
    time = statistics.median(times)
    return {
        "rows": linear.rows, "columns": linear.columns, "tokens": linear.tokens, "us": time,
        "us_least": min(times), "us_most": max(times), "gb_per_s": linear.bytes / time / 1e3,
        "tops_per_s": 2e-6 * linear.rows * linear.columns * linear.tokens / time,
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", type=parseShape, default=list(map(parseShape, SHAPES.split())))
    parser.add_argument("--tokens", nargs="+", type=int, default=[1])
    parser.add_argument("--tbqc", type=pathlib.Path, default=pathlib.Path("build/bin/tbqc"))
    parser.add_argument("--gpu-arch", default="sm_90")
    parser.add_argument("--kernels", type=pathlib.Path, default=pathlib.Path("build/bench/linear"), help="their folder")
    parser.add_argument("--compile", action="store_true", help="fill the folder, without a GPU")
    parser.add_argument("--compiled", action="store_true", help="take what is in the folder, without tbqc")
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    linears = [Linear(*shape, tokens) for tokens in arguments.tokens for shape in arguments.shapes]
    if arguments.compile:
        for linear in linears:
            prepare(linear, arguments)
        return 0
    gpu, found = cuda.Gpu(), []
    print(f"{gpu.name}\n\n| N x K | tokens | us | GB/s of weights | Tops/s |\n| --- | --- | --- | --- | --- |")
    for linear in linears:
        folder = folderOf(arguments.kernels, linear)
        if arguments.compiled:
            ptx, sharedBytes = (folder / "linear.ptx").read_text(), json.loads((folder / "launch.json").read_text())
            sharedBytes = sharedBytes["shared_bytes"]
        else:
            ptx, sharedBytes = prepare(linear, arguments)
        found.append(measure(gpu, linear, ptx, sharedBytes))
        row = found[-1]
        print(f"| {linear.rows} x {linear.columns} | {linear.tokens} | {row['us']:.2f} | {row['gb_per_s']:.0f} | "
              f"{row['tops_per_s']:.1f} |", flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps({"gpu": gpu.name, "linears": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
