# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every diagnostic of the compiler is met by a test, and the gate that says so can fail."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
GATE = ROOT / "scripts/check-diagnostics.py"

SOURCE = """
  if (rows != columns)
    return emitOpError("needs ") << rows << " rows, "
                                    "not " << columns;
  if (wide)
    return op.emitError(wide ? "is too wide" : "is too narrow");
"""
TEST = """
// expected-error @below {{needs 4 rows, not 5}}
// expected-error @below {{is too wide}}
// CHECK: error: is too narrow
"""


def runGate(folder):
    return subprocess.run([sys.executable, GATE], cwd=folder, capture_output=True, text=True)


@pytest.fixture
def tree(tmp_path):
    for folder in ("lib/IR", "test/IR"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "lib/IR/Op.cpp").write_text(SOURCE)
    (tmp_path / "test/IR/invalid.mlir").write_text(TEST)
    return tmp_path


def test_all_met(tree):
    result = runGate(tree)
    assert (result.returncode, result.stdout) == (0, "2 diagnostics, 0 that no test expects\n")


@pytest.mark.parametrize(
    ("line", "missed"),
    [
        ("needs 4 rows, not 5", "lib/IR/Op.cpp:3: needs ... rows, not"),
        ("is too narrow", "lib/IR/Op.cpp:6: is too wide ... is too narrow"),
    ],
)
def test_one_missed(tree, line, missed):
    path = tree / "test/IR/invalid.mlir"
    path.write_text(path.read_text().replace(line, ""))
    result = runGate(tree)
    assert result.returncode == 1
    assert result.stdout == f"{missed}\n2 diagnostics, 1 that no test expects\n"


def test_a_header_is_read(tree):
    (tree / "lib/IR/Op.cpp").rename(tree / "lib/IR/Op.h")
    (tree / "test/IR/invalid.mlir").unlink()
    assert runGate(tree).stdout.endswith("2 diagnostics, 2 that no test expects\n")


def test_this_repository():
    result = runGate(ROOT)
    assert result.returncode == 0, result.stdout
