# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times GemLite's kernels of one linear and cuBLAS's beside ours, shape by shape, as linear.py does.

Input:  gemlite (0.6.0 from PyPI) where torch with CUDA is; a folder that `linear.py --compile` filled.
Output: a line a shape, microseconds of each and how many times the faster of the two is ours; the geometric mean of
        these.
Holds:  GemLite has two bits a weight, a scale and a zero in float16 for 128 of them, and float16 activations; its
        kernels are tuned (`--autotune max` looks longer), and the fastest one counts. All take weights in turn that
        together are more than any L2 cache, in graphs of LAUNCHES launches.
"""

import argparse
import copy
import json
import pathlib
import statistics

import gemlite
import torch
import torch.nn.functional as F
from gemlite.helper import A16Wn

import cuda
import linear
from linear_module import GROUP, Linear

KERNELS = ("GEMV_REVSPLITK", "GEMV", "GEMV_SPLITK", "GEMM_SPLITK")  # Its own choice for one token first.


def microseconds(multiply, size):
    """Of a launch of `multiply`, which takes a copy's number, of `size` bytes each."""
    count = copiesOf(size)
    for number in range(count):
        multiply(number)
    graph, marks = torch.cuda.CUDAGraph(), []
    with torch.cuda.graph(graph):
        for launch in range(linear.LAUNCHES):
            multiply(launch % count)
    for repetition in range(linear.REPETITIONS + 4):
        marks.append(torch.cuda.Event(enable_timing=True))
        marks[-1].record()
        graph.replay()
    torch.cuda.synchronize()
    times = [before.elapsed_time(after) for before, after in zip(marks[3:], marks[4:])]
    return 1e3 * statistics.median(times) / linear.LAUNCHES


def copiesOf(size):
    return max(2, min(linear.LAUNCHES, -(-linear.FAR_BYTES // size)))


def measureGemlite(rows, columns, input, kernels):
    codes = torch.randint(0, 3, (rows, columns), dtype=torch.uint8, device="cuda")
    scales = torch.rand(rows, columns // GROUP, dtype=torch.float16, device="cuda") * 0.01 + 0.01
    zeros = torch.rand_like(scales) + 0.5
    first = A16Wn(device="cuda:0", dtype=torch.float16).from_weights(codes, scales, zeros, 2, GROUP)
    weights = (codes.view(rows, -1, GROUP).half() - zeros.unsqueeze(-1)) * scales.unsqueeze(-1)
    wanted = input.float() @ weights.view(rows, columns).float().T
    size, times = sum(tensor.nbytes for tensor in first.get_tensor_args()), {}
    layers = [first, *(copy.deepcopy(first) for _ in range(copiesOf(size) - 1))]
    for kernel in kernels:
        found = first.forward_manual(input, kernel).float()
        if (found - wanted).norm() > 0.02 * wanted.norm():
            raise SystemExit(f"gemlite_linear: {rows}x{columns}: {kernel} computes something else")
        times[kernel] = microseconds(lambda number: layers[number].forward_manual(input, kernel), size)
    return min(times.items(), key=lambda each: each[1])


def measureCublas(rows, columns, input):
    weights = torch.randn(copiesOf(2 * rows * columns), rows, columns, dtype=torch.bfloat16, device="cuda")
    input = input.bfloat16()
    return microseconds(lambda number: F.linear(input, weights[number]), 2 * rows * columns)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", type=linear.parseShape,
                        default=list(map(linear.parseShape, linear.SHAPES.split())))  # fmt: skip
    parser.add_argument("--its", nargs="+", choices=KERNELS, default=KERNELS, help="GemLite's kernels")
    parser.add_argument("--autotune", choices=("fast", "max"), default="fast")
    parser.add_argument("--kernels", type=pathlib.Path, default=pathlib.Path("build/bench/linear"), help="our folder")
    arguments = parser.parse_args()
    if arguments.autotune == "max":
        gemlite.set_autotune("max")
    gpu, times = cuda.Gpu(), []
    print(f"{gpu.name}\n\n| N x K | us | GemLite | its kernel | cuBLAS | times |\n|{' --- |' * 6}", flush=True)
    for rows, columns in arguments.shapes:
        folder = linear.folderOf(arguments.kernels, Linear(rows, columns))
        shared = json.loads((folder / "launch.json").read_text())["shared_bytes"]
        here = linear.measure(gpu, Linear(rows, columns), (folder / "linear.ptx").read_text(), shared)["us"]
        input = torch.randn(1, columns, dtype=torch.float16, device="cuda")
        kernel, there = measureGemlite(rows, columns, input, arguments.its)
        product = measureCublas(rows, columns, input)
        torch.cuda.empty_cache()
        times.append(min(there, product) / here)
        print(f"| {rows} x {columns} | {here:.2f} | {there:.2f} | {kernel} | {product:.2f} | {times[-1]:.2f} |",
              flush=True)  # fmt: skip
    print(f"\nGeometric mean: {statistics.geometric_mean(times):.2f} times")


if __name__ == "__main__":
    main()
