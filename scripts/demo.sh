#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Compiles the default model and lets it write.
# Input:  the one directory of models/ with a config.json; $PROMPT, $TOKENS.
# Output: build/demo/model.so, and text on stdout.
# Holds:  compiles again only when the compiler or the model is newer than the artifact.
set -euo pipefail
cd "$(dirname "$0")/.."

build=${TBQ_BUILD:-build}
shopt -s nullglob
configs=(models/*/config.json)
if [ ${#configs[@]} -ne 1 ]; then
  echo "demo: models/: found ${#configs[@]} models, expected one with a config.json" >&2
  exit 1
fi
model=${configs[0]%/config.json}
artifact=$build/demo/model.so

if [ ! -f "$artifact" ] || [ "$build/bin/tbqc" -nt "$artifact" ] ||
  [ -n "$(find "$model" -newer "$artifact" -print -quit)" ]; then
  echo "demo: tbqc $model -o $artifact"
  mkdir -p "${artifact%/*}"
  "$build/bin/tbqc" "$model" -o "$artifact"
fi
echo "demo: tbq-run -m $artifact -p \"${PROMPT:-Once upon a time}\" -n ${TOKENS:-200}"
"$build/bin/tbq-run" -m "$artifact" -p "${PROMPT:-Once upon a time}" -n "${TOKENS:-200}" --seed 1
echo
