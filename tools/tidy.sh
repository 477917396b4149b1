#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs clang-tidy on one source file as it is compiled in a build folder; silent when there is nothing to say.
#
# usage: tools/tidy.sh BUILD_DIR FILE
set -u
# A file that is compiled nowhere (an example, an option that is off) has no flags to be checked with.
grep -qF "/$2\"" "$1/compile_commands.json" || exit 0
# The filter in .clang-tidy would take headers of a checkout below a folder named src for ours.
output=$(clang-tidy-14 -p "$1" --quiet --header-filter="^$PWD/(include/cbtap|src)/" "$2" 2> /dev/null)
status=$?
[ $status -eq 0 ] || printf '%s\n' "$output"
exit $status
