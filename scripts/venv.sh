#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Makes the Python environment that the tests and the SmolLM2 conversion run in.
# Input:  python/requirements-test.txt (every version pinned).
# Output: build/venv; re-made only when the requirements have changed.
# Holds:  the stamp is written last, so an interrupted run starts over.
set -euo pipefail
cd "$(dirname "$0")/.."

build=${TBQ_BUILD:-build}
requirements=python/requirements-test.txt
stamp=$build/venv/requirements.sha256
wanted=$(sha256sum <"$requirements")
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
  exit 0
fi

# Debian's own interpreter: python3-venv belongs to it.
python=${PYTHON:-/usr/bin/python3}
echo "venv: about to make $build/venv with $("$python" --version) and install:"
grep -vE '^(#|$)' "$requirements" | paste -sd' ' | fold -s -w 76 | sed 's/^/  /'
rm -rf "$build/venv"
mkdir -p "$build"
"$python" -m venv "$build/venv"
"$build/venv/bin/pip" install -qq --disable-pip-version-check \
  -r "$requirements"
echo "$wanted" >"$stamp"
