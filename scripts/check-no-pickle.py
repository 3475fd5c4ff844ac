# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The gate that keeps pickle out: reading a pickle is running its code.

Input:  the files git tracks or would track, in the current directory.
Output: one line "FILE:LINE: TEXT" for each use, and exit code 1 if there is any.
Holds:  looks at Python's ways to read or write one, and at files that are one by their name.
"""

import pathlib
import re
import subprocess
import sys

USES = re.compile(
    r"^\s*(import|from)\s+(_?pickle|cPickle|cloudpickle|dill|joblib|shelve|marshal)\b"
    r"|\bpickle\.(loads?|dumps?|Unpickler|Pickler)\b"
    r"|\btorch\.(load|save)\s*\("
    r"|\ballow_pickle\s*=\s*True"
    r"|\b(read_pickle|to_pickle)\s*\("
)
SUFFIXES = {".pkl", ".pickle", ".pt", ".pth", ".joblib", ".dill"}


def listFiles():
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True).stdout.split(b"\0")
    return [pathlib.Path(name.decode()) for name in names if name]


def findUses(path):
    """The lines of one file that use pickle; the gate's own patterns are no use."""
    if path.suffix in SUFFIXES:
        return [f"{path}:0: a pickle by its name"]
    if path.suffix not in (".py", ".pyi", ".ipynb") or path.name == pathlib.Path(__file__).name:
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [f"{path}:{i}: {line.strip()}" for i, line in enumerate(lines, 1) if USES.search(line)]


def main():
    files = [path for path in listFiles() if path.exists()]
    uses = [use for path in files for use in findUses(path)]
    for use in uses:
        print(use)
    print(f"{len(files)} files, {len(uses)} uses of pickle")
    return 1 if uses else 0


if __name__ == "__main__":
    sys.exit(main())
