# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""RELIABILITY R28: on a processor that lacks what an artifact needs, a line names the feature.

valgrind 3.19 emulates an x86-64 processor with AVX2 and nothing newer, whatever it runs on; an
instruction it does not know would end the program by SIGILL.
"""

import json
import os
import shutil
import subprocess

import pytest

from conftest import BUILD, runGood
from damage import assertRefused

NAME = "tied-f32"

pytestmark = [
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="emulates x86-64"),
    pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is absent"),
]


def runEmulated(artifact):
    return subprocess.run(
        ["valgrind", "--tool=none", "-q", BUILD / "bin/tbq-run", "-m", artifact,
         "-p", "License", "-n", "4", "--temp", "0", "-t", "2"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize("cpu, feature", [("cascadelake", "avx512vnni"), ("x86-64-v4", "avx512f")])
def test_missing_feature_is_named(cpu, feature, model_directory, compile_model):
    artifact = compile_model(model_directory(NAME), f"--mcpu={cpu}", "--quantize=ternary:g64", "--activations=i8")
    assertRefused(runEmulated(artifact), artifact.name, "lacks", feature)


@pytest.mark.parametrize("cpu", ["x86-64", "x86-64-v3"])
def test_older_code_runs(cpu, model_directory, compile_model):
    """And gives what it gives on this processor."""
    artifact = compile_model(model_directory(NAME), f"--mcpu={cpu}", "--quantize=ternary:g64", "--activations=i8")
    emulated = runEmulated(artifact)
    assert emulated.returncode == 0, emulated.stderr
    native = runGood("tbq-run", "-m", artifact, "-p", "License", "-n", 4, "--temp", 0, "-t", 2)
    assert emulated.stdout == native.stdout
    features = json.loads(runGood("tbq-inspect", "--json", artifact).stdout)["target"]["features"]
    assert not any(feature.startswith("avx512") for feature in features)
