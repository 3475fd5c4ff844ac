#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Fuzzes the readers: builds test/fuzz with libFuzzer, ASan and UBSan, runs each target on its
# corpus and beyond.
# Input:  --seconds=N of each target (5), --keep to make the corpora anew of what reaches most code;
#         names of targets (all of them if none is).
# Output: one line a target: executions, edges, seconds; a finding's report and input.
# Holds:  two targets run at a time; any finding makes the exit code 1.
set -euo pipefail
cd "$(dirname "$0")/.."

build=${TBQ_BUILD:-build}/fuzz
seconds=5
keep=
targets=()
for argument in "$@"; do
  case $argument in
    --seconds=*) seconds=${argument#*=} ;;
    --keep) keep=1 ;;
    -*) echo "fuzz: unknown flag $argument; --seconds=N, --keep" >&2 && exit 1 ;;
    *) targets+=("$argument") ;;
  esac
done
if [ ${#targets[@]} -eq 0 ]; then
  for corpus in test/fuzz/corpus/*/; do targets+=("$(basename "$corpus")"); done
fi

if [ ! -f "$build/build.ninja" ]; then
  echo "fuzz: configuring $build (clang 22, libFuzzer, ASan, UBSan)"
  cmake -S . -B "$build" -G Ninja -DCMAKE_C_COMPILER=clang-22 -DCMAKE_CXX_COMPILER=clang++-22 \
    -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE="-O1 -gline-tables-only" \
    -DCMAKE_EXE_LINKER_FLAGS=-fuse-ld=lld -DTBQ_BUILD_COMPILER=OFF -DTBQ_BUILD_TESTS=OFF \
    -DTBQ_BUILD_FUZZERS=ON >/dev/null
fi
cmake --build "$build" --target "${targets[@]/#/tbq-fuzz-}" >"$build/build.log" 2>&1 ||
  { cat "$build/build.log" && exit 1; }

# runTarget NAME: fuzzes, then says what was done; new inputs go to the build folder.
runTarget() {
  local name=$1 corpus=test/fuzz/corpus/$1 found=$build/found/$1 log=$build/$1.log
  mkdir -p "$found"
  # A unit of 5 s, 512 MiB or a leak is a finding too.
  if ! "$build/bin/tbq-fuzz-$name" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 \
    -malloc_limit_mb=512 -max_len=16384 -dict=test/fuzz/words.dict -print_final_stats=1 \
    -artifact_prefix="$found-" "$found" "$corpus" >"$log" 2>&1; then
    cat "$log"
    echo "fuzz: $name: FOUND, see $found-*; once fixed, keep it in $corpus"
    return 1
  fi
  echo "fuzz: $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") executions," \
    "$(sed -n 's/.* cov: \([0-9]*\).*/\1/p' "$log" | tail -n 1) edges, $seconds s"
  if [ -n "$keep" ]; then
    rm -rf "$build/minimised/$name" && mkdir -p "$build/minimised/$name"
    "$build/bin/tbq-fuzz-$name" -set_cover_merge=1 -use_counters=0 -max_len=4096 "$build/minimised/$name" \
      "$corpus" "$found" >"$log" 2>&1
    # Files with names of their own, seeds and findings, stay; hashes are the fuzzer's names.
    find "$corpus" -type f -regex '.*/[0-9a-f]*' -delete
    cp "$build/minimised/$name"/* "$corpus"
  fi
}
export -f runTarget
export build seconds keep
printf '%s\n' "${targets[@]}" | xargs -P 2 -I{} bash -c 'runTarget {}' || exit 1
