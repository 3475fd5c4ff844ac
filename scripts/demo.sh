#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Compiles the ternary chat model of models/, asks it a question, says how to chat.
# Input:  $MODEL, a directory of models/; $QUESTION; $TOKENS, the most that an answer has.
# Output: build/demo/NAME.so, and the answer on stdout.
# Holds:  compiles again only when the compiler or the model is newer than the artifact.
set -euo pipefail
cd "$(dirname "$0")/.."

build=${TBQ_BUILD:-build}
model=${MODEL:-models/smollm2-135m-ternary}
question=${QUESTION:-What is the capital of France?}
artifact=$build/demo/${model##*/}.so

if [ ! -f "$artifact" ] || [ "$build/bin/tbqc" -nt "$artifact" ] ||
  [ -n "$(find "$model" -newer "$artifact" -print -quit)" ]; then
  echo "demo: tbqc $model -o $artifact"
  mkdir -p "${artifact%/*}"
  "$build/bin/tbqc" "$model" -o "$artifact"
fi
chat=("$build/bin/tbq-run" -m "$artifact" -cnv)
echo "demo: ${chat[*]} --single-turn --temp 0 -n ${TOKENS:-100} -p \"$question\""
"${chat[@]}" --single-turn --temp 0 -n "${TOKENS:-100}" --show-timings -p "$question"
echo
echo "demo: to chat with it: ${chat[*]}"
