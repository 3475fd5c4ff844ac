#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# How many lines of the readers the unit tests and the fuzz corpora reach.
# Input:  the source tree, test/fuzz/corpus; a folder build/coverage of its own.
# Output: lines and functions of each file and of all, the lines that nothing reaches in
#         build/coverage/missed.txt; exit code 1 below 90 % of all lines.
set -euo pipefail
cd "$(dirname "$0")/.."

build=${TBQ_BUILD:-build}/coverage
llvm=/usr/lib/llvm-22/bin
tests=(tbq-format-test tbq-reader-test tbq-tokenizer-test tbq-runtime-test)

if [ ! -f "$build/build.ninja" ]; then
  echo "coverage: configuring $build (clang 22, source-based coverage)"
  cmake -S . -B "$build" -G Ninja -DCMAKE_C_COMPILER=clang-22 -DCMAKE_CXX_COMPILER=clang++-22 \
    -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS="-fprofile-instr-generate -fcoverage-mapping" \
    -DCMAKE_CXX_FLAGS_DEBUG=-O0 -DCMAKE_EXE_LINKER_FLAGS=-fuse-ld=lld \
    -DTBQ_BUILD_COMPILER=OFF -DTBQ_BUILD_FUZZERS=ON -DTBQ_FUZZ_OPTIONS= >/dev/null
fi
targets=()
for corpus in test/fuzz/corpus/*/; do targets+=("$(basename "$corpus")"); done
cmake --build "$build" --target "${tests[@]}" "${targets[@]/#/tbq-fuzz-}" \
  >"$build/build.log" 2>&1 || { cat "$build/build.log" && exit 1; }

rm -f "$build"/*.profraw
objects=()
for name in "${tests[@]}"; do
  LLVM_PROFILE_FILE=$build/$name.profraw "$build/bin/$name" --gtest_brief=1 >/dev/null
  objects+=("$build/bin/$name")
done
for name in "${targets[@]}"; do
  LLVM_PROFILE_FILE=$build/fuzz-$name.profraw "$build/bin/tbq-fuzz-$name" -runs=0 \
    "test/fuzz/corpus/$name" 2>/dev/null
  objects+=("$build/bin/tbq-fuzz-$name")
done
"$llvm/llvm-profdata" merge -sparse "$build"/*.profraw -o "$build/all.profdata"

objects=("${objects[0]}" "${objects[@]/#/-object=}")
sources=(format lib/Import/Readers lib/Import/Tokenizer runtime/TokenizerView.cpp)
"$llvm/llvm-cov" export -summary-only -instr-profile="$build/all.profdata" "${objects[@]}" \
  "${sources[@]}" >"$build/summary.json"
"$llvm/llvm-cov" show -instr-profile="$build/all.profdata" "${objects[@]}" "${sources[@]}" |
  awk -F'|' '/^\//{file = $0} $2 ~ /^ *0$/{print file, $1 "|" $3}' >"$build/missed.txt"
python3 - "$build/summary.json" <<'PYTHON'
import json
import os
import sys

data = json.load(open(sys.argv[1]))["data"][0]
for file in data["files"] + [{"filename": "all", "summary": data["totals"]}]:
    lines, functions = file["summary"]["lines"], file["summary"]["functions"]
    name = os.path.relpath(file["filename"]) if file["filename"] != "all" else "all"
    print(f"{name:45} {lines['covered']:>5} of {lines['count']:>5} lines {lines['percent']:6.2f} %"
          f"  {functions['covered']:>4} of {functions['count']:>4} functions")
sys.exit(data["totals"]["lines"]["percent"] < 90)
PYTHON
