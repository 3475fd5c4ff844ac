# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A linear alone, as benchmarks/gpu times it, on a GPU that is none (emulator.py): its row, which others have
stored, comes to the block's memory."""

import ctypes
import platform
import sys

import pytest

import emulator
from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "benchmarks/gpu"))
import cuda  # noqa: E402
import linear  # noqa: E402
import linear_module  # noqa: E402

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="fibers of x86-64 here")
# What the driver here has in place of what a timing calls, with a stream behind the arguments.
CALLS = {"cuMemsetD8_v2": "cuMemsetD8Async", "cuMemcpyHtoD_v2": "cuMemcpyHtoDAsync_v2",
         "cuMemcpyDtoH_v2": "cuMemcpyDtoHAsync_v2"}  # fmt: skip


class EmulatedGpu(cuda.Gpu):
    def __init__(self, driver):
        self.library, self.stream, self.processors = ctypes.CDLL(str(driver)), None, 1

    def call(self, name, *arguments):
        if name == "cuModuleLoadData":
            return  # kernels are what EMULATED_STEP has
        if name == "cuModuleGetFunction":
            self.library.cuModuleGetFunction.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p]
        if name in CALLS:
            name, arguments = CALLS[name], (*arguments, None)
        super().call(name, *arguments)


# Rows of whole eights of groups and of others, in rounds that divide them and not; shares of which the last has fewer
# rounds, and of which the last round has fewer pieces; shares that have none, where a block's warps share a tile's
# pieces among many tokens.
@pytest.mark.parametrize("rows, columns, tokens", [(256, 1024, 1), (128, 3456, 1), (64, 12800, 1), (64, 13056, 1),
                                                   (64, 1152, 32)])
def test_a_linear_alone(rows, columns, tokens, tmp_path, monkeypatch):
    """One token's results are those of many, bit for bit, whose tokens come another way."""
    one = linear_module.Linear(rows, columns, tokens)
    module, step, driver = tmp_path / "linear.mlir", tmp_path / "step.so", emulator.buildDriver(tmp_path, emulates=True)
    module.write_text(linear_module.moduleOf(one))
    emulator.compileStep(module, ["--start-after=lower", "--target=cuda", "--gpu-arch=sm_90a"], driver, step)
    monkeypatch.setenv("EMULATED_STEP", str(step))
    monkeypatch.setattr(linear, "FAR_BYTES", 1)
    linear.Measured(EmulatedGpu(driver), one, "", 0).check()
