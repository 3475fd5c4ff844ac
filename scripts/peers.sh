#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Builds llama.cpp's llama-bench and llama-quantize, which `make bench` measures beside ours.
# Input:  benchmarks/peers.txt, the package whose source distribution holds llama.cpp, with its hash.
# Output: build/peers/bin/llama-bench and llama-quantize, for this machine's processor, by the
#         compiler that builds ours.
# Holds:  the source is taken only where its hash is the one of peers.txt.
set -euo pipefail
cd "$(dirname "$0")/.."

peers=${TBQ_BUILD:-build}/peers
source=$peers/source
if [ ! -f "$source/complete" ]; then
  echo "peers: fetching $(grep -oE '^[a-z-]+==[0-9.]+' benchmarks/peers.txt) from PyPI"
  rm -rf "$source" "$peers/download"
  "${TBQ_BUILD:-build}/venv/bin/python" -m pip download -q --disable-pip-version-check --no-deps \
    --no-binary llama-cpp-python --require-hashes -r benchmarks/peers.txt -d "$peers/download"
  mkdir -p "$source"
  tar -xzf "$peers"/download/*.tar.gz -C "$source" --strip-components=3 --wildcards \
    '*/vendor/llama.cpp'
  touch "$source/complete"
fi

# Not Debian 12's g++: what it makes of llama.cpp faults at ldtilecfg where there is AMX.
cmake -S "$source" -B "$peers" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_C_COMPILER=clang-22 -DCMAKE_CXX_COMPILER=clang++-22 -DGGML_NATIVE=ON \
  -DGGML_OPENMP=OFF -DBUILD_SHARED_LIBS=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF \
  -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF >/dev/null
echo "peers: building llama-bench and llama-quantize in $peers"
cmake --build "$peers" --target llama-bench llama-quantize
