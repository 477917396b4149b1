#!/bin/bash
# SPDX-License-Identifier: MIT
# Sets everything up and runs every check there is, phase by phase; stops at the first phase that fails.
#
# usage: tools/test.sh [PHASE]...        (default: all of them, in this order)
#
#   bootstrap  installs what is needed (tools/bootstrap.sh)
#   format     clang-format finds nothing to change
#   clang      clang build, warnings as errors
#   release    gcc build, warnings as errors; unit, conformance (real events) and integration tests
#   asan       address and undefined behaviour sanitizers: unit and integration tests
#   tsan       thread sanitizer: unit and integration tests
#   tidy       clang-tidy finds nothing; it has worked in the background since `clang`
#
# Integration tests start a real RabbitMQ, Redis and Apache Kafka of their own, on free ports in temporary folders.
# shellcheck disable=SC2317  # the phases are called by their names
set -euo pipefail
cd "$(dirname "$0")/.."

all=(bootstrap format clang release asan tsan tidy)
passed=0 failed=0 skipped=0
summary=()
jobs=$(nproc)

count() { read -r p f s <<< "$1"; passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s)); }

# What is not a test program counts as one. Its output goes to the log $1, and is shown where it fails, at most $2 lines.
check() {
  local log=$1 lines=$2
  shift 2
  if "$@" > "$log" 2>&1; then
    count '1 0 0'
  else
    count '0 1 0'
    tail -n "$lines" "$log"
    echo "  the whole of it: $log"
    return 1
  fi
}

sources() { git ls-files -z --cached --others --exclude-standard -- "$@"; }

build() {
  check "build/$1.configure.log" 40 cmake --preset "$1"
  check "build/$1.build.log" 60 cmake --build --preset "$1" -j "$jobs"
}

# $1: preset, $2: label; the output of CTest, shown where a test failed.
run_tests() {
  local junit=build/$1/junit-$2.xml log=build/$1/tests-$2.log parallel=$((jobs + 1)) status=0 # many wait most of the time
  rm -f "$junit"
  ctest --preset "$1" -L "^$2\$" -j "$parallel" --no-tests=error --output-on-failure --output-junit "$PWD/$junit" \
    --test-output-size-passed 1000000 --test-output-size-failed 1000000 > "$log" 2>&1 || status=$?
  if [ -f "$junit" ]; then count "$(/usr/bin/python3 tools/count_tests.py "$junit")"; else count '0 1 0'; fi
  grep -E '^ *[0-9]+/[0-9]+ Test|tests passed|SKIPPED|total of' "$log" | sed 's/^/  /' || true
  [ "$status" -ne 0 ] || return 0
  awk '/^ *[0-9]+\/[0-9]+ Test|^ *Start +[0-9]+:/ { failed = /\*\*\*/ } failed' "$log" | tail -n 200
  echo "  the whole of it: $log"
  return 1
}

build_and_test() {
  build "$1"
  run_tests "$1" unit
  run_tests "$1" integration
}

phase_bootstrap() { tools/bootstrap.sh; }
phase_format() {
  local files
  mapfile -d '' files < <(sources '*.c' '*.h')
  check build/format.log 20 clang-format-14 --dry-run -Werror "${files[@]}"
}
phase_release() {
  build release
  run_tests release unit
  run_tests release conformance
  run_tests release integration
}
phase_clang() {
  build clang
  start_tidy
}
phase_asan() { build_and_test asan; }
phase_tsan() { build_and_test tsan; }

# In the background, at the lowest priority: most tests wait, and leave the processors to it.
start_tidy() {
  rm -f build/tidy.status
  (
    trap - EXIT
    renice -n 19 "$BASHPID" > /dev/null
    status=0
    sources '*.c' | xargs -0 -n 1 -P "$jobs" tools/tidy.sh build/clang > build/tidy.log 2>&1 || status=$?
    echo "$status" > build/tidy.status
  ) > /dev/null 2>&1 &
  echo $! > build/tidy.pid
}
tidied() {
  while [ ! -f build/tidy.status ] && kill -0 "$(cat build/tidy.pid)" 2> /dev/null; do sleep 1; done
  cat build/tidy.log
  [ "$(cat build/tidy.status)" = 0 ]
}
phase_tidy() {
  if [ ! -f build/tidy.pid ]; then phase_clang; fi
  check build/tidied.log 60 tidied
}
end_tidy() {
  if [ -f build/tidy.pid ] && [ ! -f build/tidy.status ]; then pkill -P "$(cat build/tidy.pid)" || true; fi
  rm -f build/tidy.pid
}

run_phase() {
  local start=$SECONDS status=0
  printf '\n==== %s ====\n' "$1"
  # Not in a condition, nor this function: there bash would let every failing command pass.
  set +e
  (set -e; trap 'echo "$passed $failed $skipped" > build/counts' EXIT; "phase_$1")
  status=$?
  set -e
  read -r passed failed skipped < build/counts
  if [ $status -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
  local outcome=ok
  if [ $status -ne 0 ]; then outcome=FAILED result=1; fi
  summary+=("$(printf '%-10s %-7s %4d s' "$1" "$outcome" $((SECONDS - start)))")
  printf -- '---- %s: %s, %d s\n' "$1" "$outcome" $((SECONDS - start))
}

phases=("$@")
if [ $# -eq 0 ]; then phases=("${all[@]}"); fi
for phase in "${phases[@]}"; do
  if ! declare -F "phase_$phase" > /dev/null; then sed -n 's/^# \{0,1\}//; 3,15p' "$0" >&2; exit 2; fi
done
mkdir -p build
rm -f build/tidy.pid
trap end_tidy EXIT
missing_corpus=
if ! [ -d ../shared/corpus ]; then
  missing_corpus='!!!! SKIPPED: ../shared/corpus is missing, so no test compares with real events !!!!'
  printf '\n%s\n' "$missing_corpus"
fi
result=0
for phase in "${phases[@]}"; do
  run_phase "$phase"
  if [ $result -ne 0 ]; then break; fi
done
printf '\n==== summary, %d s ====\n' "$SECONDS"
printf '%s\n' "${summary[@]}"
[ -z "$missing_corpus" ] || echo "$missing_corpus"
if [ "$skipped" -gt 0 ]; then echo "$passed passed, $failed failed, $skipped skipped"; else echo "$passed passed, $failed failed"; fi
exit $result
