#!/bin/bash
# SPDX-License-Identifier: MIT
# The fault matrix: kills, cuts off, starves and refuses cbtap, RabbitMQ, Kafka and Redis under load, for MINUTES (default
# 60; begun rounds are finished case by case), and writes what came of it into docs/RELIABILITY.md.
#
# usage: tools/chaos.sh [MINUTES] [CASE...]      CASE: a glob of a case's name; see tests/stress/chaos.py --list
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in -h | --help) sed -n 's/^# \{0,1\}//; 3,6p' "$0"; exit 0 ;; esac
minutes=${1:-60}
[[ $minutes =~ ^[0-9]+$ ]] || { echo "chaos: MINUTES is a number: $minutes" >&2; exit 2; }

tools/bootstrap.sh
mkdir -p build
{ cmake --preset release && cmake --build --preset release; } > build/chaos.build.log 2>&1 ||
  { tail -n 40 build/chaos.build.log >&2; exit 1; }
exec /usr/bin/python3 -B tests/stress/chaos.py --minutes "$minutes" --report docs/RELIABILITY.md --log-dir build/chaos-logs "${@:2}"
