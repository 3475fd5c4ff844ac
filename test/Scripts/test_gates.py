# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The gates of scripts/ can fail: each finds what it is there to find, in a small repository."""

import pathlib
import subprocess
import sys

import pytest

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"

README = """# A project

<!-- tree -->
```
README.md
lib/        libraries
  IR/
tools/
```
"""


@pytest.fixture
def repository(tmp_path):
    """A repository whose README is right and whose Python is clean."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    for folder in ("lib/IR", "tools/opt"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "main.py").write_text("print('no pickles')\n")
    (tmp_path / "README.md").write_text(README)
    return tmp_path


def runGate(name, folder, *arguments):
    return subprocess.run(
        [sys.executable, SCRIPTS / name, *arguments], cwd=folder, capture_output=True, text=True
    )


def test_good_tree(repository):
    result = runGate("check-readme-tree.py", repository)
    assert (result.returncode, result.stdout) == (0, "4 entries, 0 differences\n")


@pytest.mark.parametrize("folder", ["docs", "lib/Graph"])
def test_tree_lacks_a_folder(folder, repository):
    """At the top, and inside a folder that the tree opens."""
    (repository / folder).mkdir()
    (repository / folder / "a.txt").write_text("a")
    result = runGate("check-readme-tree.py", repository)
    assert result.returncode == 1
    assert f"README.md: {folder}/: on disk, not in the tree" in result.stdout


def test_tree_names_what_is_not_there(repository):
    text = README.replace("tools/", "  Pack/\ntools/\nLICENSE")
    (repository / "README.md").write_text(text)
    result = runGate("check-readme-tree.py", repository)
    assert result.returncode == 1
    for entry in ("lib/Pack/", "LICENSE"):
        assert f"README.md: {entry}: not on disk" in result.stdout


def test_no_pickle(repository):
    assert runGate("check-no-pickle.py", repository).returncode == 0


@pytest.mark.parametrize(
    "line",
    [
        "import " + "pickle",
        "from joblib" + " import dump",
        "    state = torch." + "load(path, weights_only=True)",
        "numpy.load(path, allow_" + "pickle=True)",
        "frame.to_" + "pickle(path)",
    ],
)
def test_pickle_is_found(line, repository):
    (repository / "tools/opt/read.py").write_text(f"x = 1\n{line}\n")
    result = runGate("check-no-pickle.py", repository)
    assert result.returncode == 1
    assert result.stdout.startswith("tools/opt/read.py:2: ")


def test_pickle_by_name(repository):
    (repository / "lib/weights.pt").write_bytes(b"x")
    assert runGate("check-no-pickle.py", repository).returncode == 1


def test_summary_counts_and_fails(tmp_path):
    """A failed case, a step without a report, and a step that fails without a failed case."""
    (tmp_path / "unit.xml").write_text(
        '<testsuite><testcase name="a" status="run"/><testcase name="b" status="fail">'
        '<failure/></testcase><testcase name="c"><skipped/></testcase></testsuite>'
    )
    for name, code in {"build": 0, "format": 1, "unit": 8, "lit": 2}.items():
        (tmp_path / f"{name}.code").write_text(str(code))
    (tmp_path / "lit.xml").write_text('<testsuites><testcase name="a"/></testsuites>')
    result = runGate("summarise-checks.py", tmp_path, tmp_path)
    assert result.returncode == 1
    assert result.stdout.splitlines()[-1] == "3 passed, 3 failed, 1 skipped"
    assert (tmp_path / "summary").read_text() == "3 passed, 3 failed, 1 skipped\n"


def test_summary_passes(tmp_path):
    (tmp_path / "build.code").write_text("0")
    result = runGate("summarise-checks.py", tmp_path, tmp_path)
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "1 passed, 0 failed")
