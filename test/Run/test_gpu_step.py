# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The step that is compiled for a GPU, run without one (emulator.py), by the runtime that would run
it there. What it computes is what the CPU's step computes, prefill and decode give the same bits,
and its operations are the interpreter's. test_gpu_device.py runs it on a GPU.
"""

import json
import platform

import pytest

import emulator
import gpu_steps
from conftest import LONG, runGood

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="fibers of x86-64 here")
IDS = [(7 * i) % 60 + 1 for i in range(19)]  # more than a block of 16 keys
# The head of tinytales has enough tiles for two at once.
CASES = [("stored-ternary-g128", "i8"), ("stored-odd-binary-row", "i16"), ("stored-odd-salient-g64", "i8"),
         ("tinytales", "i8")]
SLOW = [(name, mode) for name in gpu_steps.NAMES for mode in gpu_steps.BOUNDS]


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    return emulator.buildDriver(tmp_path_factory.mktemp("emulator"), emulates=True)


@pytest.fixture
def emulated(driver, compile_model, tmp_path, monkeypatch):
    """emulated(directory, flags) -> an artifact for a GPU, which programs from now on run here."""

    def prepare(directory, *flags):
        flags = (*flags, "--target=cuda", "--gpu-arch=sm_90")
        emulator.compileStep(directory, flags, driver, tmp_path / "step.so")
        monkeypatch.setenv("TBQ_LIBCUDA", str(driver))
        monkeypatch.setenv("EMULATED_STEP", str(tmp_path / "step.so"))
        return compile_model(directory, *flags)

    return prepare


@pytest.mark.parametrize("name, activations", CASES + [case for case in SLOW if case not in CASES] * LONG)
def test_computes_what_the_cpu_does(name, activations, model_directory, compile_model, logits_of, emulated, measure):
    directory, flag = model_directory(name), f"--activations={activations}"
    expected = logits_of(compile_model(directory, flag), IDS)
    artifact = emulated(directory, flag)
    found = logits_of(artifact, IDS)
    assert logits_of(artifact, IDS, chunk=1).tobytes() == found.tobytes()
    gpu_steps.check(found, expected, activations, measure)


@pytest.mark.parametrize("name, activations", [("stored-ternary-g128", "i8")] + [("opt", "f32"), ("tied-f32", "i16")] * LONG)
def test_operations(name, activations, model_directory, emulated):
    """Each on the values that the step gave it. Those of norms and of what is quantised lie in memory
    of the block; the cache is shown part by part."""
    directory = model_directory(name)
    artifact = emulated(directory, "--dump-tensors", f"--activations={activations}")
    report = json.loads(runGood("tbq-verify", "-m", artifact, directory, "--json").stdout)
    assert report["operations"]
    for operation in report["operations"]:
        assert not operation["broken"] and operation["values"] > 0, operation
        assert operation["runs"] == report["steps"] == 4
        assert operation["exact"] == (operation["differing"] == 0 and operation["bound"] == 0), operation
    kinds = {operation["kind"]: operation["exact"] for operation in report["operations"]}
    assert kinds["append_cache"] and not kinds["attention"]
    assert not kinds.get("packed_linear integer")
