#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Installs the Debian packages that the build and the tests stand on.
# Input:  dpkg's database; Debian 12's own repositories; as arguments, packages to install besides.
# Output: every package of the list installed; nothing is touched if all are there.
# Says what it is about to install before it does.
set -euo pipefail

packages=(
  # the compiler's foundation, and the compiler that builds it
  libmlir-22-dev mlir-22-tools llvm-22-dev llvm-22-tools liblld-22-dev lld-22
  clang-22 clang-format-22 libclang-rt-22-dev libfuzzer-22-dev
  # libraries of the readers, the runtime and the tools
  nlohmann-json3-dev libutf8proc-dev libpcre2-dev libxxhash-dev libssl-dev
  libcli11-dev libgtest-dev zlib1g-dev libzstd-dev libxml2-dev
  # what drives it all
  cmake ninja-build git xz-utils unzip strace valgrind python3 python3-dev python3-venv ca-certificates
  "$@"
)

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi

sudo=()
if [ "$(id -u)" != 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "setup: not root and no sudo; install as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  sudo=(sudo)
fi

echo "setup: about to install from Debian: ${missing[*]}"
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
echo "setup: ${#missing[@]} packages installed"
