# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times bitnet.cpp's kernel of one linear beside ours, shape by shape, as linear.py does.

Input:  bitnet.cpp's gpu/bitnet_kernels/bitnet_kernels.cu, built by `nvcc -std=c++17 -cubin -arch=sm_90`; a folder
        that `linear.py --compile` filled.
Output: a line a shape, microseconds of each and how many times; the geometric mean of these.
Holds:  both take weights in turn that together are more than any L2 cache, in graphs of LAUNCHES launches.
"""

import argparse
import ctypes
import json
import pathlib
import statistics

import numpy

import cuda
import linear
from linear_module import Linear, align

# What its kernel is for, and of how many matrices with a scale of its own a shape is.
MATRICES = {(2560, 2560): 1, (3840, 2560): 3, (13824, 2560): 2, (2560, 6912): 1, (3200, 3200): 1, (4800, 3200): 6,
            (20480, 3200): 2, (3200, 10240): 1, (5120, 27648): 1, (55296, 5120): 1}  # fmt: skip
KERNEL = "_Z23ladder_int8xint2_kernelILi1ELi{}ELi{}ELi{}ELi8ELi16EEvPaS0_P13__nv_bfloat16S2_S2_"
ROWS, ONE = 16, 0x3F80  # of a block; as bfloat16


def measure(gpu, module, rows, columns):
    function = ctypes.c_void_p()
    name = KERNEL.format(rows, columns, MATRICES[rows, columns])
    gpu.call("cuModuleGetFunction", ctypes.byref(function), module, name.encode())
    random, size = numpy.random.default_rng(1), rows * columns // 4
    stride = align(size, 256)
    copies = max(2, min(linear.LAUNCHES, -(-linear.FAR_BYTES // stride)))
    weights, input, output, scale, scales = map(gpu.allocate, (stride * copies, columns, 2 * rows, 256, 256))
    codes = random.integers(0, 256, size, numpy.uint8)
    for copy in range(copies):
        gpu.write(weights, copy * stride, codes)
    gpu.write(input, 0, random.integers(-127, 128, columns, numpy.int8))
    for pointer in (scale, scales):
        gpu.write(pointer, 0, numpy.full(128, ONE, numpy.uint16))

    def work():
        for launch in range(linear.LAUNCHES):
            at = weights.value + launch % copies * stride
            held = [ctypes.c_uint64(value) for value in (input.value, at, output.value, scale.value, scales.value)]
            pointers = (ctypes.c_void_p * len(held))(*(ctypes.addressof(value) for value in held))
            gpu.call("cuLaunchKernel", function, rows // ROWS, 1, 1, 8, ROWS, 1, 0, gpu.stream, pointers, None)

    times = gpu.microseconds(work, linear.REPETITIONS)
    results = gpu.read(output, 0, numpy.empty(rows, numpy.uint16))
    if len(set(results.tolist())) < 2:
        raise SystemExit(f"bitnet_linear: {rows}x{columns}: results are all alike")
    for pointer in (weights, input, output, scale, scales):
        gpu.free(pointer)
    return statistics.median(times) / linear.LAUNCHES


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cubin", type=pathlib.Path, required=True, help="of bitnet_kernels.cu")
    parser.add_argument("--kernels", type=pathlib.Path, default=pathlib.Path("build/bench/linear"), help="our folder")
    arguments = parser.parse_args()
    gpu, module, times = cuda.Gpu(), ctypes.c_void_p(), []
    gpu.call("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(arguments.cubin.read_bytes()))
    print(f"{gpu.name}\n\n| N x K | us | bitnet.cpp | times |\n| --- | --- | --- | --- |")
    for rows, columns in MATRICES:
        own = Linear(rows, columns)
        folder = linear.folderOf(arguments.kernels, own)
        shared = json.loads((folder / "launch.json").read_text())["shared_bytes"]
        here = linear.measure(gpu, own, (folder / "linear.ptx").read_text(), shared)["us"]
        there = measure(gpu, module, rows, columns)
        times.append(there / here)
        print(f"| {rows} x {columns} | {here:.2f} | {there:.2f} | {times[-1]:.2f} |", flush=True)
    print(f"\nGeometric mean: {statistics.geometric_mean(times):.2f} times")


if __name__ == "__main__":
    main()
