# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The gate that every diagnostic of the compiler's IR is met by a test.

Input:  the .cpp and .h files of lib/, and test/**, under the current directory.
Output: one line "FILE:LINE: TEXT" for each emitError or emitOpError that no test expects, and
        exit code 1 if there is any.
Holds:  the literals of a diagnostic must stand in one line of a test, in their order; where a
        condition chooses among them, each on its own.
"""

import pathlib
import re
import sys

CALL = re.compile(r"\b(?:emitOpError|emitError)\s*\(")
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"((?:\s*"(?:[^"\\]|\\.)*")*)')
EXPECTED = re.compile(r"expected-error|error:|\"")  # in IR, in a tool's output, in a unit test


def findDiagnostics(text):
    """(line number, literals, whether a condition chooses) of each diagnostic."""
    for call in CALL.finditer(text):
        end = text.find(";", call.end())
        # A brace before the semicolon: a definition or a lambda, not a message.
        statement = re.split(r"[{}]\s", text[call.start() : end])[0]
        literals = []
        for first, rest in LITERAL.findall(statement):
            whole = first + "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', rest))
            literals.append(whole.replace('\\"', '"').strip())
        literals = [literal for literal in literals if re.search(r"[a-z]{2}", literal)]
        if literals:
            yield text.count("\n", 0, call.start()) + 1, literals, "?" in statement


def findUnexpected(root):
    tests = [
        line
        for path in sorted((root / "test").rglob("*"))
        if path.suffix in (".mlir", ".test", ".cpp", ".py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if EXPECTED.search(line)
    ]
    count = 0
    missed = []
    sources = (path for path in (root / "lib").rglob("*") if path.suffix in (".cpp", ".h"))
    for path in sorted(sources):
        text = path.read_text(encoding="utf-8")
        for line, literals, chosen in findDiagnostics(text):
            count += 1
            parts = [re.escape(literal) for literal in literals]
            wanted = parts if chosen else [".*".join(parts)]
            if not all(any(re.search(part, test) for test in tests) for part in wanted):
                missed.append(f"{path.relative_to(root)}:{line}: {' ... '.join(literals)}")
    return count, missed


def main():
    count, missed = findUnexpected(pathlib.Path.cwd())
    for line in missed:
        print(line)
    print(f"{count} diagnostics, {len(missed)} that no test expects")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
