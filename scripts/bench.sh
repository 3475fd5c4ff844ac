#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Prompt and generation speed of the models of models/ and, once fetched, of SmolLM2 in float and
# in ternary, on one and two workers.
# Input:  models/ and build/models; artifacts are compiled where they are missing or old.
# Output: tbq-bench's rows on stdout.
set -euo pipefail
cd "$(dirname "$0")/.."

build=${TBQ_BUILD:-build}
smollm2=$build/models/SmolLM2-135M-Instruct
mkdir -p "$build/bench"

# bench NAME MODEL_DIR FLAGS...: compiles what is missing, then measures.
bench() {
  local artifact=$build/bench/$1.so model=$2
  shift 2
  if [ ! -f "$artifact" ] || [ "$build/bin/tbqc" -nt "$artifact" ]; then
    echo "bench: tbqc $model $* -o $artifact"
    "$build/bin/tbqc" "$model" "$@" -o "$artifact"
  fi
  "$build/bin/tbq-bench" -m "$artifact" -p 512 -n 128 -r 5 -t 1,2
}

shopt -s nullglob
for config in models/*/config.json; do
  bench "$(basename "${config%/config.json}")" "${config%/config.json}"
done
if [ -d "$smollm2" ]; then
  bench smollm2-float "$smollm2"
  bench smollm2-ternary-i8 "$smollm2" --quantize=ternary:g128 --activations=i8
  bench smollm2-ternary-i16 "$smollm2" --quantize=ternary:g128 --activations=i16
else
  echo "bench: $smollm2 is not there; make smollm2 fetches it"
fi
