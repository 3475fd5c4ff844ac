# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compares the tree in README.md with the directories on disk.

Input:  README.md, whose tree is the code block after the line "<!-- tree -->"; one entry a line,
        two spaces a level, "NAME/" a directory, and what it is for after two spaces or more.
Output: one line for each difference, and exit code 1 if there is any.
Holds:  every entry exists; where a directory's entry shows any directory in it, it shows all;
        the top level shows all. Ignored files do not count.
"""

import pathlib
import subprocess
import sys

MARK = "<!-- tree -->"


def readTree(text):
    """The entries of the block, as paths; a directory's ends in '/'."""
    lines = text.split(MARK, 1)[1].splitlines()
    fences = [i for i, line in enumerate(lines) if line.startswith("```")]
    if len(fences) < 2:
        raise SystemExit(f"README.md: no code block after {MARK}")
    entries, parents = [], []
    for line in lines[fences[0] + 1 : fences[1]]:
        if not line.strip():
            continue
        level = (len(line) - len(line.lstrip(" "))) // 2
        name = line.split()[0]
        if level > len(parents):
            raise SystemExit(f"README.md: {name}: indented under nothing")
        parents[level:] = [name] if name.endswith("/") else []
        entries.append("".join(parents[:level]) + name)
    return entries


def listDirectories():
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True).stdout.split(b"\0")
    found = set()
    for name in names:
        path = pathlib.PurePosixPath(name.decode())
        if name and pathlib.Path(path).exists():
            found.update(f"{parent}/" for parent in path.parents if str(parent) != ".")
    return found


def parentOf(entry):
    parent = pathlib.PurePosixPath(entry).parent
    return "" if str(parent) == "." else f"{parent}/"


def compare(entries, directories):
    differences = [
        f"README.md: {entry}: not on disk"
        for entry in entries
        if (entry not in directories if entry.endswith("/") else not pathlib.Path(entry).is_file())
    ]
    opened = {""} | {parentOf(entry) for entry in entries if entry.endswith("/")}
    differences += [
        f"README.md: {directory}: on disk, not in the tree"
        for directory in sorted(directories)
        if parentOf(directory) in opened and directory not in entries
    ]
    return differences


def main():
    text = pathlib.Path("README.md").read_text(encoding="utf-8")
    if MARK not in text:
        raise SystemExit(f"README.md: no line {MARK}")
    entries = readTree(text)
    differences = compare(entries, listDirectories())
    for difference in differences:
        print(difference)
    print(f"{len(entries)} entries, {len(differences)} differences")
    return 1 if differences or not entries else 0


if __name__ == "__main__":
    sys.exit(main())
