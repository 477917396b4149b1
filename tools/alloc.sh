#!/bin/bash
# SPDX-License-Identifier: MIT
# Makes every allocation fail in turn, not two of each place in the code as the tests of tools/test.sh do: about five minutes.
#
# usage: tools/alloc.sh [PRESET]        (default: release; asan is the other that makes sense)
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:-release}
bin=$PWD/build/$preset/bin
pytest=(/usr/bin/python3 -B -m pytest -p no:cacheprovider -q -rP --color=no --exhaustive "--cbtap=$bin/cbtap")
cmake --preset "$preset" > /dev/null
cmake --build --preset "$preset"
preload=() sanitizer=()
if [ -e "$bin/libcbtap-failing-preload.so" ]; then preload=("--preload=$bin/libcbtap-failing-preload.so"); fi
if [ "$preset" = asan ]; then sanitizer=(--sanitizer=address); fi
"${pytest[@]}" tests/alloc "--failing=$bin/cbtap-failing" "${preload[@]}"
"${pytest[@]}" tests/integration/test_alloc.py "${sanitizer[@]}"
