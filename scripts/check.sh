#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Runs every check in order: build, format, tree, pickle gate, docs, lit, unit tests, pytest.
# Input:  the source tree, build/venv; TBQ_LONG=1 adds the long runs.
# Output: logs and reports in build/check, totals in build/check/summary and as the last line.
# Holds:  a failing step does not hide the others; any failure makes the exit code 1.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

export TBQ_BUILD=${TBQ_BUILD:-build}
reports=$(realpath -m "$TBQ_BUILD")/check
python=$TBQ_BUILD/venv/bin/python
jobs=$(nproc)
rm -rf "$reports"
mkdir -p "$reports"

# step NAME COMMAND...: runs it, keeps its log, notes its exit code and seconds.
step() {
  local name=$1 begin=$SECONDS
  shift
  echo "== $name: $*"
  "$@" 2>&1 | tee "$reports/$name.log"
  local code=${PIPESTATUS[0]}
  echo "$code" >"$reports/$name.code"
  echo "== $name: exit code $code, $((SECONDS - begin)) s"
}

checkFormat() {
  local files
  mapfile -t files < <(git ls-files '*.h' '*.cpp')
  echo "${#files[@]} files"
  [ ${#files[@]} -gt 0 ] && clang-format-22 --dry-run -Werror "${files[@]}"
}

checkDocs() {
  scripts/build.sh tbq-doc || return 1
  local pages
  pages=$(find "$TBQ_BUILD/docs" -name '*.md' -size +1k | wc -l)
  echo "$pages pages in $TBQ_BUILD/docs"
  [ "$pages" -gt 0 ]
}

runUnitTests() {
  ctest --test-dir "$TBQ_BUILD" --output-on-failure --no-tests=error -j "$jobs" \
    --output-junit "$reports/unit.xml" >"$reports/unit.full.log" 2>&1
  local code=$?
  if [ $code = 0 ]; then tail -n 4 "$reports/unit.full.log"; else cat "$reports/unit.full.log"; fi
  return $code
}

runPytest() {
  local folders=(test)
  [ -d python/tests ] && folders+=(python/tests)
  PYTHONPATH=python "$python" -m pytest -q -rs -p no:cacheprovider --continue-on-collection-errors \
    -n "$jobs" --dist loadfile --junitxml="$reports/pytest.xml" "${folders[@]}"
}

step build env TBQ_PYTHON="$(realpath -m "$TBQ_BUILD")/venv/bin/python" scripts/build.sh
step format checkFormat
step tree "$python" scripts/check-readme-tree.py
step no-pickle "$python" scripts/check-no-pickle.py
step docs checkDocs
step lit env LIT_OPTS="--xunit-xml-output=$reports/lit.xml" scripts/build.sh check-tbq
step unit runUnitTests
step pytest runPytest
step fuzz scripts/fuzz.sh --seconds="$([ "${TBQ_LONG:-}" = 1 ] && echo 60 || echo 3)"

"$python" scripts/summarise-checks.py "$reports"
