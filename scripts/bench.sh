#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Measures the rows of benchmarks/table.yaml beside llama.cpp, where `make peers` has built it, and
# the peers that the environment names (PEER_LLAMA_BENCH, PEER_LLAMA_BENCH_AVX2,
# PEER_IK_LLAMA_BENCH).
# Input:  flags of benchmarks/bench.py; models are made and compiled where they are missing or old.
# Output: tables on stdout, build/bench/results.json and roofline.png.
set -euo pipefail
cd "$(dirname "$0")/.."

build=${TBQ_BUILD:-build}
use() { # the variable NAME, where nobody has set it and PROGRAM is there
  if [ -z "${!1:-}" ] && [ -x "$2" ]; then export "$1=$2"; fi
}
use PEER_LLAMA_BENCH "$build/peers/bin/llama-bench"
use PEER_LLAMA_BENCH_AVX2 "$build/peers/avx2/bin/llama-bench"
mkdir -p "$build/bench"
exec "$build/venv/bin/python" benchmarks/bench.py --json "$build/bench/results.json" \
  --chart "$build/bench/roofline.png" "$@"
