#!/bin/bash
# SPDX-License-Identifier: MIT
# Fuzzes with libFuzzer, each target for some minutes, and says what came of it; exit status 1 where something was found.
#
# usage: tools/fuzz.sh [-j JOBS] [--merge] MINUTES [TARGET]...        (default: every target, JOBS of them at a time)
#
#   -j JOBS   targets at a time; default: the number of processors
#   --merge   afterwards takes the fewest inputs that reach all that was reached into tests/fuzz/corpus, where they are run
#             with the unit tests; what is there stays
#
# A target is NAME of build/fuzz/bin/fuzz_NAME. What it learns stays in build/fuzz/corpus, for the next time; an input that
# ends it, takes too long or too much memory goes to build/fuzz/findings. MINUTES may be 0: then only what is there is run.
set -euo pipefail
cd "$(dirname "$0")/.."

timeout_s=10 rss_limit_mb=2048
build=build/fuzz

usage() { sed -n 's/^# \{0,1\}//; 3,12p' "$0" >&2; exit 2; }

# Formats share their inputs.
corpus_of() { case $1 in record_* | notification_*) echo "${1%_*}" ;; *) echo "$1" ;; esac; }
# Long enough for what the target tells apart: Redis has a way of its own for strings above 4 KiB.
max_len_of() { case $1 in redis | zip) echo 16384 ;; *) echo 4096 ;; esac; }

# Runs target $1 with what follows.
run() {
  local target=$1
  shift
  "$build/bin/fuzz_$target" -timeout=$timeout_s -rss_limit_mb=$rss_limit_mb -max_len="$(max_len_of "$target")" "$@" \
    < /dev/null
}

fuzz() {
  local target=$1 corpus
  corpus=$(corpus_of "$target")
  mkdir -p "$build/corpus/$target" "$build/findings/$target"
  # 0 seconds would be for ever.
  local limit=(-max_total_time="$seconds")
  if [ "$seconds" -eq 0 ]; then limit=(-runs=0); fi
  run "$target" "${limit[@]}" -dict=tests/fuzz/cbtap.dict -artifact_prefix="$build/findings/$target/" -print_final_stats=1 \
    -reload=0 -use_value_profile=1 "$build/corpus/$target" "$build/seeds/$corpus" "tests/fuzz/corpus/$corpus" \
    > "$build/logs/$target.log" 2>&1 || echo "$target" >> "$build/failed"
}

merge() {
  local target=$1 into
  into=tests/fuzz/corpus/$(corpus_of "$target")
  # How often an edge is taken does not count here: a corpus for tests is to be small.
  run "$target" -merge=1 -use_counters=0 "$into" "$build/corpus/$target" > "$build/logs/$target.merge.log" 2>&1
}

# The last number behind $2 in the target's log.
last() { grep -oE "$2 *[0-9]+" "$build/logs/$1.log" | tail -n 1 | grep -oE '[0-9]+$' || echo -; }

row() { printf '%-16s %12s %8s %7s %9s %7s %9s\n' "$@"; }

table() {
  local target findings
  row target executions exec/s edges features corpus findings
  for target in "${targets[@]}"; do
    findings=$(find "$build/findings/$target" -type f -newer "$build/started" | wc -l)
    row "$target" "$(last "$target" 'number_of_executed_units:')" "$(last "$target" 'average_exec_per_sec:')" \
      "$(last "$target" ' cov:')" "$(last "$target" ' ft:')" "$(find "$build/corpus/$target" -type f | wc -l)" "$findings"
  done
}

tell_findings() {
  local target file
  while read -r target; do
    printf '\n%s failed: %s\n' "$target" "$build/logs/$target.log"
    grep -E 'not true:|^SUMMARY:|runtime error:' "$build/logs/$target.log" | head -n 3 || true
    while read -r file; do
      echo "  again:  $build/bin/fuzz_$target $file"
      echo "  to keep it as a test, once it is mended: cp $file tests/fuzz/corpus/$(corpus_of "$target")/NAME"
    done < <(find "$build/findings/$target" -type f -newer "$build/started")
  done < "$build/failed"
}

jobs=$(nproc) merge= minutes= targets=()
while [ $# -gt 0 ]; do
  case $1 in
    -j) jobs=${2:-} && shift ;;
    --merge) merge=1 ;;
    -*) usage ;;
    *) if [ -z "$minutes" ]; then minutes=$1; else targets+=("$1"); fi ;;
  esac
  shift
done
[[ $minutes =~ ^[0-9]+$ && $jobs =~ ^[1-9][0-9]*$ ]] || usage
seconds=$((minutes * 60))

cmake --preset fuzz > /dev/null
cmake --build --preset fuzz -j "$jobs"
mapfile -t known < <(ctest --preset fuzz -N -R '^fuzz_' | sed -n 's/.* fuzz_\([a-z0-9_]*\)$/\1/p')
if [ ${#targets[@]} -eq 0 ]; then targets=("${known[@]}"); fi
for target in "${targets[@]}"; do
  [[ " ${known[*]} " = *" $target "* ]] || { echo "no target '$target'; there are: ${known[*]}" >&2; exit 2; }
done
mkdir -p $build/logs $build/findings
tests/fuzz/seeds.py $build/seeds
: > $build/failed
: > $build/started

for target in "${targets[@]}"; do
  while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n || true; done
  fuzz "$target" &
done
wait
table
if [ -s $build/failed ]; then
  tell_findings
  exit 1
fi
if [ -n "$merge" ]; then
  for target in "${targets[@]}"; do merge "$target"; done
  du -sh --apparent-size tests/fuzz/corpus
fi
