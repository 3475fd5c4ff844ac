#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Builds llama.cpp's llama-bench and llama-quantize, which `make bench` measures beside ours.
# Input:  benchmarks/peers.txt, the package whose source distribution holds llama.cpp, with its hash;
#         ISA=avx2: for x86-64-v3 instead of this machine's processor.
# Output: build/peers/bin/llama-bench and llama-quantize, or build/peers/avx2/bin, by the compiler
#         that builds ours.
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

case ${ISA:-native} in
native) made=$peers target=(-DGGML_NATIVE=ON) ;;
avx2)
  made=$peers/avx2
  target=(-DGGML_NATIVE=OFF)
  for extension in SSE42 AVX AVX2 FMA F16C BMI2; do target+=("-DGGML_$extension=ON"); done
  ;;
*)
  echo "peers: ISA=$ISA: neither native nor avx2" >&2
  exit 1
  ;;
esac

# Not Debian 12's g++: what it makes of llama.cpp faults at ldtilecfg where there is AMX.
cmake -S "$source" -B "$made" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_C_COMPILER=clang-22 -DCMAKE_CXX_COMPILER=clang++-22 "${target[@]}" \
  -DGGML_OPENMP=OFF -DBUILD_SHARED_LIBS=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF \
  -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF >/dev/null
echo "peers: building llama-bench and llama-quantize in $made"
cmake --build "$made" --target llama-bench llama-quantize
