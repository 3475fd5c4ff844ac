# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Adds up what scripts/check.sh ran.

Input:  a folder of NAME.code (a step's exit code) and, where the step counts, NAME.xml (JUnit).
Output: a table, then "N passed, N failed" as the last line and in the file `summary`.
Holds:  a step without a report counts as one; a step that failed without a failed case in its
        report counts as one failure; the exit code is 1 if anything failed or nothing passed.
"""

import pathlib
import sys
import xml.etree.ElementTree


def countCases(report):
    """(passed, failed, skipped) of one JUnit file."""
    passed = failed = skipped = 0
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"} or case.get("status") == "fail":
            failed += 1
        elif "skipped" in kinds or case.get("status") in ("notrun", "disabled"):
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def countStep(folder, name):
    exitCode = int((folder / f"{name}.code").read_text())
    report = folder / f"{name}.xml"
    if not report.exists():
        return (1, 0, 0) if exitCode == 0 else (0, 1, 0)
    passed, failed, skipped = countCases(report)
    if exitCode != 0 and failed == 0:
        failed = 1
    return passed, failed, skipped


def main():
    folder = pathlib.Path(sys.argv[1])
    steps = sorted(folder.glob("*.code"), key=lambda path: path.stat().st_mtime_ns)
    totals = [0, 0, 0]
    print(f"\n{'step':<12} {'passed':>7} {'failed':>7} {'skipped':>8}")
    for step in steps:
        counts = countStep(folder, step.stem)
        print(f"{step.stem:<12} {counts[0]:>7} {counts[1]:>7} {counts[2]:>8}")
        totals = [total + count for total, count in zip(totals, counts)]
    summary = f"{totals[0]} passed, {totals[1]} failed"
    if totals[2]:
        summary += f", {totals[2]} skipped"
    (folder / "summary").write_text(summary + "\n")
    print(summary)
    return 1 if totals[1] or not totals[0] else 0


if __name__ == "__main__":
    sys.exit(main())
