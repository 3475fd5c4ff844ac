# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The step that is compiled for a GPU, run without one: its LLVM IR, compiled for this machine, its
threads as fibers (gpu/Emulator.cpp). What it computes is what the CPU's step computes, and prefill
and decode give the same bits. test_gpu_device.py runs it on a GPU.
"""

import platform
import re
import subprocess

import numpy
import pytest

import synthetic
from conftest import LLVM, LONG, REPOSITORY, runGood

SOURCES = REPOSITORY / "test/Run/gpu"


def withoutCasts(text):
    """`addrspacecast (ptr X to ptr)` as X, whose parentheses may be nested."""
    word = "addrspacecast (ptr "
    while (begin := text.find(word)) >= 0:
        end, depth = begin + len(word), 1
        while depth:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        inner = text[begin + len(word) : end - 1].removesuffix(" to ptr")
        text = text[:begin] + inner + text[end:]
    return text


def forThisMachine(text):
    """The kernels as functions of any processor, NVVM's intrinsics as functions of the emulator."""
    text = re.sub(r"^target (triple|datalayout).*\n", "", text, flags=re.M)
    text = text.replace("ptx_kernel ", "")
    text = re.sub(r"@llvm\.nvvm\.([A-Za-z0-9_.]+)",
                  lambda match: "@nvvm_" + match.group(1).replace(".", "_"), text)
    text = re.sub(r'"(target-cpu|target-features|nvvm\.[a-z]+)"(="[^"]*")?', "", text)
    text = re.sub(r'syncscope\("[a-z]+"\) ', "", text)
    text = re.sub(r"addrspace\([0-9]\) ?", "", text)
    text = re.sub(r"= addrspacecast ptr ([@%][\w.]+) to ptr", r"= getelementptr i8, ptr \1, i64 0", text)
    return withoutCasts(text)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    program = tmp_path_factory.mktemp("emulator") / "emulator"
    subprocess.run([LLVM / "clang++", "-O2", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-rdynamic",
                    "-I", REPOSITORY, SOURCES / "Emulator.cpp", "-o", program, "-ldl"], check=True)
    return program


@pytest.fixture
def last_logits(emulator, tmp_path):
    """last_logits(directory, flags, ids, chunk) -> float32 [stride], of the emulated step."""
    made = {}

    def prepare(directory, flags):
        artifact, step = tmp_path / "model.so", tmp_path / "step.so"
        target = ["--target=cuda", "--gpu-arch=sm_90", *flags]
        runGood("tbqc", directory, "-o", artifact, *target)
        text = runGood("tbqc", directory, "-o", "-", "--emit=llvm", "-O1", *target).stdout
        (tmp_path / "step.ll").write_text(forThisMachine(text))
        subprocess.run([LLVM / "clang", "-O1", "-fPIC", "-shared", "-Wno-override-module", "-x", "ir",
                        tmp_path / "step.ll", "-o", step], check=True)
        return artifact, step

    def run(directory, flags, ids, chunk):
        key = directory, flags
        if key not in made:
            made[key] = prepare(directory, flags)
        result = subprocess.run([emulator, *made[key], str(chunk), *map(str, ids)], check=True,
                                capture_output=True, timeout=300)
        return numpy.frombuffer(result.stdout, numpy.float32)

    return run


CASES = [("stored-ternary-g128", "i8"), ("stored-odd-binary-row", "i16")]
NAMES = [name for name in {**synthetic.STORED, **synthetic.EMBEDDED, **synthetic.WIDE}
         if "salient" not in name]
SLOW = [(name, mode) for name in ["tied-f32", "f16-llama3-rope", "untied-bf16-sharded", "opt", "opt-gelu-bf16",
                                   "opt-post-f16", "tinytales", *NAMES] for mode in ("f32", "i16", "i8")]
# f32 sums in another order; i16 and i8 round what then differs in its last bits.
BOUNDS = {"f32": 1e-9, "i16": 1e-6, "i8": 1e-3}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="fibers of x86-64 here")
@pytest.mark.parametrize("name, activations", CASES + [case for case in SLOW if case not in CASES] * LONG)
def test_computes_what_the_cpu_does(name, activations, model_directory, compile_model, logits_of,
                                    last_logits, measure):
    directory, flags = model_directory(name), (f"--activations={activations}",)
    ids = [5, 9, 100, 33, 7]
    expected = logits_of(compile_model(directory, *flags), ids)[-1].astype(numpy.float64)
    decoded = last_logits(directory, flags, ids, chunk=1)
    assert last_logits(directory, flags, ids, chunk=64).tobytes() == decoded.tobytes()
    found = decoded[: len(expected)].astype(numpy.float64)
    error = ((found - expected) ** 2).sum() / (expected**2).sum()
    measure("NMSE", error)
    assert error < BOUNDS[activations]
