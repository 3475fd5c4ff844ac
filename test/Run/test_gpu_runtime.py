# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What programs say of a GPU's artifact where there is no GPU, no driver, or one that fails at any
call (gpu/FakeDriver.c): one line that names the call, exit code 1, and nothing left taken.
"""

import json
import os
import subprocess

import pytest

import emulator
from conftest import LLVM, runTool

CALLS = [
    "cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetAttribute", "cuDevicePrimaryCtxRetain",
    "cuCtxSetCurrent", "cuStreamCreate", "cuModuleLoadDataEx", "cuModuleGetFunction",
    "cuOccupancyMaxActiveBlocksPerMultiprocessor", "cuMemAlloc_v2", "cuMemsetD8Async",
    "cuMemAllocHost_v2", "cuMemcpyHtoDAsync_v2", "cuStreamSynchronize", "cuLaunchCooperativeKernel",
]  # fmt: skip


@pytest.fixture(scope="module")
def artifact(model_directory, compile_model):
    return compile_model(model_directory("stored-ternary-g128"), "--target=cuda")


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    return emulator.buildDriver(tmp_path_factory.mktemp("driver"), emulates=False)


def run(artifact, library, **environment):
    return runTool("tbq-logits", artifact, "--tokens", "5 9 7", "--chunk", "2", "--hash",
                   env={**os.environ, "TBQ_LIBCUDA": str(library), **environment})


def test_any_processor_may_run_it(artifact):
    """The artifact asks its host for what every processor of this architecture has."""
    manifest = json.loads(runTool("tbq-inspect", artifact, "--json").stdout)
    assert manifest["target"]["cpu"] in ("x86-64", "generic")


def test_runs_with_a_driver(artifact, driver):
    result = run(artifact, driver)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""


@pytest.mark.parametrize("call", CALLS)
def test_a_failed_call_is_named(artifact, driver, call):
    result = run(artifact, driver, FAKE_FAIL=call)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert f"{call.removesuffix('_v2')}: " in result.stderr and "made up (999)" in result.stderr


def test_a_window_that_fails_is_named(model_directory, compile_model, driver):
    """The calls that an artifact makes which shows its operations."""
    artifact = compile_model(model_directory("stored-ternary-g128"), "--target=cuda", "--dump-tensors")
    assert run(artifact, driver).returncode == 0
    result = run(artifact, driver, FAKE_FAIL="cuStreamQuery")
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert "cuStreamQuery: " in result.stderr and "made up (999)" in result.stderr


def test_times_that_fail_are_named(model_directory, compile_model, driver):
    """The calls that an artifact makes which times its phases, behind others of their names."""
    artifact = compile_model(model_directory("stored-ternary-g128"), "--target=cuda", "--time-phases")
    assert run(artifact, driver).returncode == 0
    room, step = "making room for the times of phases", "running a step"
    for call, others, purpose in (
        ("cuDeviceGetAttribute", 4, room), ("cuMemAlloc_v2", 4, room), ("cuMemcpyHtoDAsync_v2", 0, room),
        ("cuMemsetD8Async", 3, step), ("cuMemcpyDtoHAsync_v2", 0, step), ("cuStreamSynchronize", 2, step),
    ):  # fmt: skip
        result = run(artifact, driver, FAKE_FAIL=call, FAKE_SKIP=str(others))
        assert result.returncode == 1 and result.stderr.count("\n") == 1
        assert f"{call.removesuffix('_v2')}: {purpose}" in result.stderr and "made up (999)" in result.stderr


def test_a_gpu_gets_its_machine_code(model_directory, compile_model, driver, tmp_path):
    """Where the artifact has it and the driver takes it; else PTX. A ptxas that writes what it was asked for."""
    assembler = tmp_path / "ptxas"
    assembler.write_text('#!/bin/sh\necho "// $1" > $3; test $1 = -arch=sm_100 || cat $4 >> $3\n')
    assembler.chmod(0o755)
    artifact = compile_model(model_directory("stored-ternary-g128"), "--target=cuda",
                             "--gpu-arch=sm_80,sm_90a,sm_100", f"--ptxas={assembler}")
    for capability, tried in (("89", ["// -arch=sm_80"]), ("90", ["// -arch=sm_90a"]), ("120", ["//"]),
                              ("103", ["// -arch=sm_100", "//"])):  # fmt: skip
        result = run(artifact, driver, FAKE_CAPABILITY=capability, FAKE_SHOW="1")
        assert result.returncode == 0, result.stderr
        assert result.stderr.splitlines() == [f"fake driver: {line}" for line in tried]


def test_too_little_memory(artifact, driver):
    result = run(artifact, driver, FAKE_FAIL="cuMemAlloc_v2:2")
    assert result.returncode == 2  # as memory of the host
    assert "bytes (weights): out of memory (2)" in result.stderr


@pytest.mark.parametrize("environment, said", [
    ("FAKE_NONE", "finds no NVIDIA GPU"),
    ("FAKE_ALONE", "cannot launch blocks that wait for each other"),
    ("FAKE_FULL", "no block of the step fits"),
])  # fmt: skip
def test_an_unfit_gpu(artifact, driver, environment, said):
    result = run(artifact, driver, **{environment: "1"})
    assert result.returncode == 1 and said in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("blocks", ["1", "2", "3"])
def test_fewer_blocks(artifact, driver, blocks):
    result = run(artifact, driver, TBQ_CUDA_BLOCKS=blocks)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("blocks", ["0", "4", "-1", "1.5", "", "one"])
def test_a_number_of_blocks_that_cannot_be(artifact, driver, blocks):
    result = run(artifact, driver, TBQ_CUDA_BLOCKS=blocks)
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert f"TBQ_CUDA_BLOCKS: must be 1 to the GPU's 3 processors (got '{blocks}')" in result.stderr


def test_no_driver(artifact, tmp_path):
    result = run(artifact, tmp_path / "nothing.so")
    assert result.returncode == 1
    assert "compiled for an NVIDIA GPU, and no driver for one can be opened" in result.stderr


def test_an_older_driver(artifact, tmp_path):
    source, empty = tmp_path / "empty.c", tmp_path / "empty.so"
    source.write_text("int nothing;\n")
    subprocess.run([LLVM / "clang", "-shared", "-fPIC", source, "-o", empty], check=True)
    result = run(artifact, empty)
    assert result.returncode == 1 and "the driver has no cuInit" in result.stderr
