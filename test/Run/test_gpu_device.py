# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Steps on an NVIDIA GPU against the CPU's (`make gpu-check`). Skipped where no driver finds one."""

import ctypes

import pytest

import gpu_steps
from conftest import LONG, runGood


def hasGpu():
    try:
        driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
    except OSError:
        return False
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


pytestmark = pytest.mark.skipif(not hasGpu(), reason="needs an NVIDIA GPU")


@pytest.mark.parametrize("activations", gpu_steps.BOUNDS)
@pytest.mark.parametrize("name", gpu_steps.NAMES)
def test_computes_what_the_cpu_does(name, activations, model_directory, compile_model, logits_of, measure):
    directory, flag = model_directory(name), f"--activations={activations}"
    ids = [(7 * i) % 60 + 1 for i in range(50)]
    expected = logits_of(compile_model(directory, flag), ids)
    artifact = compile_model(directory, flag, "--target=cuda")
    found = logits_of(artifact, ids)
    assert logits_of(artifact, ids, chunk=1).tobytes() == found.tobytes()
    assert logits_of(artifact, ids, chunk=7).tobytes() == found.tobytes()
    gpu_steps.check(found, expected, activations, measure)


@pytest.mark.parametrize("name, activations", [("stored-many-tiles", "i8"), ("tinytales", "i16"), ("opt", "f32"),
                                               ("stored-odd-salient-g64", "i8")])
def test_late_blocks(name, activations, model_directory, compile_model, logits_of, monkeypatch):
    """Blocks that come to barriers and go on at random times compute what one block computes."""
    directory, flags = model_directory(name), (f"--activations={activations}", "--target=cuda")
    ids = [(11 * i) % 60 + 1 for i in range(150)]
    monkeypatch.setenv("TBQ_CUDA_BLOCKS", "1")
    expected = logits_of(compile_model(directory, *flags), ids)
    monkeypatch.delenv("TBQ_CUDA_BLOCKS")
    artifact = compile_model(directory, *flags, "--delay-blocks")
    for chunk in [64, 1, 64, 1]:
        assert logits_of(artifact, ids, chunk=chunk).tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ["tinytales", "tinystories"] + ["smollm2"] * LONG)
def test_writes_the_same_text(name, model_directory, compile_model):
    directory = model_directory(name)
    texts = [runGood("tbq-run", "-m", compile_model(directory, "--activations=f32", *target), "-p",
                     "Once upon a time", "-n", "60", "--temp", "0").stdout
             for target in ([], ["--target=cuda"])]
    assert texts[0] == texts[1]
