#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Builds the runtime for aarch64, to be run by QEMU where the machine is another one.
# Input:  Debian's cross compiler and QEMU, installed if absent; Debian's arm64 libraries, unpacked
#         into a folder, so that this machine's packages stay as they are.
# Output: build/aarch64/bin/tbq-logits, and build/aarch64/root with the libraries it runs with.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(realpath -m "${TBQ_BUILD:-build}")/aarch64
root=$folder/root
libraries=(libpcre2-8-0 libpcre2-dev libutf8proc2 libutf8proc-dev libssl3 libssl-dev
  libxxhash0 libxxhash-dev)

scripts/setup.sh qemu-user g++-12-aarch64-linux-gnu
if [ ! -f "$root/complete" ]; then
  echo "aarch64: about to unpack Debian's arm64 packages ${libraries[*]} into $root"
  rm -rf "$root"
  mkdir -p "$root/lists/partial" "$root/packages"
  apt=(apt-get -qq -oAPT::Architecture=arm64 -oAPT::Architectures=arm64
    -oDir::State::Lists="$root/lists" -oDir::State::status=/dev/null -oAPT::Sandbox::User=)
  "${apt[@]}" update
  (cd "$root/packages" && "${apt[@]}" download "${libraries[@]}")
  for package in "$root"/packages/*.deb; do dpkg -x "$package" "$root"; done
  touch "$root/complete"
fi
if [ ! -f "$folder/build.ninja" ]; then
  cmake -S . -B "$folder" -G Ninja -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64-linux-gnu.cmake \
    -DTBQ_AARCH64_ROOT="$root" -DTBQ_BUILD_COMPILER=OFF -DTBQ_BUILD_TESTS=OFF
fi
cmake --build "$folder" --target tbq-logits
