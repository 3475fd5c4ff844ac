#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Configures once, then builds the targets named (all of them if none is).
# Input:  the source tree; $TBQ_BUILD names the build folder, default build; $TBQ_PYTHON, if
#         given, a Python with nanobind to build the runtime's package for.
# Output: programs in build/bin, the package in build/python.
set -euo pipefail
cd "$(dirname "$0")/.."

build=${TBQ_BUILD:-build}
if [ ! -f "$build/build.ninja" ]; then
  echo "build: configuring $build (Release, clang 22, lld)"
  cmake -S . -B "$build" -G Ninja \
    -DCMAKE_PREFIX_PATH=/usr/lib/llvm-22 \
    -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_C_FLAGS_RELEASE="-O2 -DNDEBUG" \
    -DCMAKE_CXX_FLAGS_RELEASE="-O2 -DNDEBUG" \
    -DCMAKE_C_COMPILER=clang-22 \
    -DCMAKE_CXX_COMPILER=clang++-22 \
    -DLLVM_USE_LINKER=lld \
    -DCMAKE_EXE_LINKER_FLAGS=-fuse-ld=lld \
    -DCMAKE_SHARED_LINKER_FLAGS=-fuse-ld=lld
fi
if [ -n "${TBQ_PYTHON:-}" ] &&
  ! grep -qsxF "Python_EXECUTABLE:FILEPATH=$TBQ_PYTHON" "$build/CMakeCache.txt"; then
  echo "build: adding the Python package, for $TBQ_PYTHON"
  cmake -S . -B "$build" -DTBQ_BUILD_PYTHON=ON -DPython_EXECUTABLE:FILEPATH="$TBQ_PYTHON"
fi
cmake --build "$build" --target "${@:-all}"
