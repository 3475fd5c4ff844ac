# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Steps on an NVIDIA GPU against the CPU's (`make gpu-check`). Skipped where no driver finds one."""

import ctypes
import re
import subprocess

import pytest

import gpu_steps
from conftest import BUILD, LONG, findCudaTool, runGood


def findGpu():
    """Compute capability of the first GPU, (9, 0) for instance; None: there is none."""
    try:
        driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
    except OSError:
        return None
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or count.value == 0:
        return None
    device, numbers = ctypes.c_int(), (ctypes.c_int(), ctypes.c_int())
    driver.cuDeviceGet(ctypes.byref(device), 0)
    for number, attribute in zip(numbers, (75, 76)):  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
        driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
    return tuple(number.value for number in numbers)


GPU = findGpu()
# Any GPU's code, and, on Hopper, its own: products of warp groups, bulk copies.
ARCHITECTURES = ["sm_80"] + ["sm_90a"] * (GPU == (9, 0))
pytestmark = pytest.mark.skipif(GPU is None, reason="needs an NVIDIA GPU")


@pytest.mark.parametrize("activations", gpu_steps.BOUNDS)
@pytest.mark.parametrize("name", gpu_steps.NAMES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_computes_what_the_cpu_does(architecture, name, activations, model_directory, compile_model, logits_of,
                                    measure):
    directory, flag = model_directory(name), f"--activations={activations}"
    ids = [(7 * i) % 60 + 1 for i in range(50)]
    expected = logits_of(compile_model(directory, flag), ids)
    artifact = compile_model(directory, flag, "--target=cuda", f"--gpu-arch={architecture}")
    found = logits_of(artifact, ids)
    assert logits_of(artifact, ids, chunk=1).tobytes() == found.tobytes()
    assert logits_of(artifact, ids, chunk=7).tobytes() == found.tobytes()
    gpu_steps.check(found, expected, activations, measure)


@pytest.mark.parametrize("name, activations", [("stored-many-tiles", "i8"), ("tinytales", "i16"), ("opt", "f32"),
                                               ("stored-odd-salient-g64", "i8"), ("stored-whole-stages", "i8")])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_late_blocks(architecture, name, activations, model_directory, compile_model, logits_of, monkeypatch):
    """Blocks that come to barriers and go on at random times compute what one block computes."""
    directory = model_directory(name)
    flags = (f"--activations={activations}", "--target=cuda", f"--gpu-arch={architecture}")
    ids = [(11 * i) % 60 + 1 for i in range(150)]
    monkeypatch.setenv("TBQ_CUDA_BLOCKS", "1")
    expected = logits_of(compile_model(directory, *flags), ids)
    monkeypatch.delenv("TBQ_CUDA_BLOCKS")
    artifact = compile_model(directory, *flags, "--delay-blocks")
    for chunk in [64, 1, 64, 1]:
        assert logits_of(artifact, ids, chunk=chunk).tobytes() == expected.tobytes()


@pytest.mark.parametrize("name, activations, batch", [("stored-ternary-g128", "i8", 20), ("opt", "i8", 8),
                                                      ("stored-odd-salient-g64", "i16", 5)])
def test_sequences_of_a_batch(name, activations, batch, model_directory, compile_model, logits_of):
    artifact = compile_model(model_directory(name), f"--activations={activations}", "--target=cuda",
                             f"--gpu-arch={ARCHITECTURES[-1]}", f"--max-batch={batch}")
    ids = [(7 * i) % 60 + 1 for i in range(60)]
    alone = logits_of(artifact, ids)
    for sequence in logits_of(artifact, ids, batch=batch):
        assert sequence.tobytes() == alone.tobytes()


@pytest.mark.skipif(findCudaTool("compute-sanitizer") is None, reason="needs compute-sanitizer")
@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
@pytest.mark.parametrize("name, batch", [("stored-many-tiles", None), ("stored-whole-stages", None),
                                         ("stored-many-stages", None),
                                         ("stored-ternary-g128", 20), ("opt", 8)])
def test_sanitizer_finds_nothing(name, batch, tool, model_directory, compile_model, tmp_path):
    """A prefill and decode steps, or a prefill and a batch, in the form for this GPU."""
    flags = (f"--max-batch={batch}",) if batch else ()
    artifact = compile_model(model_directory(name), "--activations=i8", "--target=cuda",
                             f"--gpu-arch={ARCHITECTURES[-1]}", *flags)
    (tmp_path / "ids.txt").write_text(" ".join(str(7 * i % 60 + 1) for i in range(70)) + "\n")
    ways = [["--batch", str(batch)]] if batch else [["--chunk", "64"], ["--chunk", "1"]]
    for way in ways:
        run = subprocess.run(
            [findCudaTool("compute-sanitizer"), "--tool", tool, BUILD / "bin/tbq-logits", artifact,
             "--ids", tmp_path / "ids.txt", *way, "--hash"], capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        # Of bulk copies racecheck warns where two linears, between which barriers in that memory end and
        # begin anew, write to one place.
        assert run.returncode == 0 and re.search(r"SUMMARY: .*\b0 errors", run.stdout), run.stdout[-2000:] + run.stderr


@pytest.mark.parametrize("name", ["tinytales", "tinystories"] + ["smollm2"] * LONG)
def test_writes_the_same_text(name, model_directory, compile_model):
    directory = model_directory(name)
    texts = [runGood("tbq-run", "-m", compile_model(directory, "--activations=f32", *target), "-p",
                     "Once upon a time", "-n", "60", "--temp", "0").stdout
             for target in ([], ["--target=cuda"])]
    assert texts[0] == texts[1]
