#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Measures the rows of benchmarks/table.yaml beside llama.cpp, where `make peers` has built it, and
# the peers that the environment names (PEER_LLAMA_BENCH, PEER_IK_LLAMA_BENCH).
# Input:  flags of benchmarks/bench.py; models are made and compiled where they are missing or old.
# Output: tables on stdout, build/bench/results.json and roofline.png.
set -euo pipefail
cd "$(dirname "$0")/.."

build=${TBQ_BUILD:-build}
peer=$build/peers/bin/llama-bench
if [ -z "${PEER_LLAMA_BENCH:-}" ] && [ -x "$peer" ]; then
  export PEER_LLAMA_BENCH=$peer
fi
mkdir -p "$build/bench"
exec "$build/venv/bin/python" benchmarks/bench.py --json "$build/bench/results.json" \
  --chart "$build/bench/roofline.png" "$@"
