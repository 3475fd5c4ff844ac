# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""An aarch64 processor with the int8 dot product, emulated by QEMU: its logits are this one's.

scripts/aarch64.sh (make check-long) builds the runtime for it and fetches the emulator. Both
artifacts fuse the same multiply-adds and sum in the same order, so every bit of the logits is
compared; what this processor computes is checked against the interpreter elsewhere.
"""

import os
import pathlib
import subprocess

import numpy
import pytest

from conftest import BUILD
from damage import assertRefused

PROGRAM = BUILD / "aarch64/bin/tbq-logits"
TARGET = ["--mtriple=aarch64-linux-gnu"]
IDS = [1, 80, 147, 201, 282, 57, 5, 7, 8, 9, 10, 11, 100, 80, 81, 3, 2, 60, 61]
ACTIVATIONS = ["f32", "i16", "i8"]
SPECS = ["ternary:g32", "ternary:row", "binary:g64", "binary:g96,salient=0.1", "binary:row,salient=0.3",
         "dual-binary:g128"]  # fmt: skip

pytestmark = [
    pytest.mark.skipif(not PROGRAM.exists(), reason=f"{PROGRAM} is absent: scripts/aarch64.sh"),
    pytest.mark.skipif(os.uname().machine == "aarch64", reason="is an aarch64 machine itself"),
]


def runEmulated(artifact, folder, cpu="max", workers=1, chunk=64):
    """tbq-logits on the emulated processor: what ran, and its logits' file."""
    output = pathlib.Path(folder) / "logits.bin"
    (folder / "ids.txt").write_text(" ".join(map(str, IDS)) + "\n")
    return subprocess.run(
        ["qemu-aarch64", "-cpu", cpu, "-L", "/usr/aarch64-linux-gnu",
         "-E", f"LD_LIBRARY_PATH={BUILD / 'aarch64/root/usr/lib/aarch64-linux-gnu'}",
         PROGRAM, artifact, "--ids", folder / "ids.txt", "--chunk", str(chunk),
         "--workers", str(workers), "-o", output],
        capture_output=True, text=True, timeout=300,
    ), output  # fmt: skip


@pytest.mark.parametrize("activations", ACTIVATIONS)
@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("feature", ["+dotprod", "-dotprod"])
def test_logits_are_this_processors(
    spec, activations, feature, model_directory, compile_model, logits_of, tmp_path
):
    directory = model_directory("tied-f32")
    flags = [f"--quantize={spec}", f"--activations={activations}", "--embedding=int8:g64"]
    expected = logits_of(compile_model(directory, *flags), IDS)
    there = compile_model(directory, *flags, *TARGET, f"--mattr={feature}")
    for workers, chunk in [(1, 64), (3, 1), (2, 7)]:
        ran, output = runEmulated(there, tmp_path, workers=workers, chunk=chunk)
        assert ran.returncode == 0, ran.stderr
        found = numpy.fromfile(output, numpy.float32).reshape(expected.shape)
        assert found.tobytes() == expected.tobytes(), numpy.abs(found - expected).max()


def test_float_model(model_directory, compile_model, logits_of, tmp_path):
    directory = model_directory("tied-f32")
    expected = logits_of(compile_model(directory), IDS)
    ran, output = runEmulated(compile_model(directory, *TARGET), tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert output.read_bytes() == expected.tobytes()


def test_missing_feature_is_named(model_directory, compile_model, tmp_path):
    flags = ["--quantize=ternary:g32", "--activations=i8", *TARGET, "--mattr=+dotprod"]
    artifact = compile_model(model_directory("tied-f32"), *flags)
    ran, _ = runEmulated(artifact, tmp_path, cpu="cortex-a53")
    assertRefused(ran, artifact.name, "lacks", "dotprod")
