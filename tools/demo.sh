#!/bin/bash
# SPDX-License-Identifier: MIT
# Shows cbtap at work: installs what it needs, builds it, starts RabbitMQ, Redis and an embedded Kafka on free ports in a
# temporary folder, sends the events of a synthetic fleet through it, and shows the stages live in the terminal.
#
# usage: tools/demo.sh [--keep] [--seconds N] [--rate EVENTS_PER_SECOND]
#
#   --keep       leaves everything running afterwards and says how to look at it and how to stop it
#   --seconds N  how long to watch (default 20)
#   --rate N     events a second in all (default 20000)
set -euo pipefail
cd "$(dirname "$0")/.."

keep='' seconds=20 rate=20000
while [ $# -gt 0 ]; do
  case $1 in
    --keep) keep=1 ;;
    --seconds | --rate)
      [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || { echo "demo: $1 takes a number" >&2; exit 2; }
      printf -v "${1#--}" %s "$2"
      shift
      ;;
    -h | --help) sed -n 's/^# \{0,1\}//; 3,10p' "$0"; exit 0 ;;
    *) echo "demo: unknown option $1: --keep, --seconds N, --rate N" >&2; exit 2 ;;
  esac
  shift
done

started=$SECONDS
say() { printf '\n\033[1m%s\033[0m  (%d s)\n' "$*" $((SECONDS - started)); }
if [ ! -t 1 ] || [ -n "${NO_COLOR+set}" ]; then say() { printf '\n%s  (%d s)\n' "$*" $((SECONDS - started)); }; fi
die() { printf 'demo: %s\n' "$*" >&2; exit 1; }

dir=$(mktemp -d "${TMPDIR:-/tmp}/cbtap-demo.XXXXXX")
pids=() # in the order in which they are to be stopped
keeping=

stop_all() {
  local pid
  for pid in "${pids[@]}"; do
    kill "$pid" 2> /dev/null || continue
    wait "$pid" 2> /dev/null || true
  done
}
clean_up() {
  if [ -n "$keeping" ]; then return; fi
  stop_all
  rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Starts a program in the background, its output in a log; it ends with this script unless that is to leave it running.
start() {
  local log=$1
  shift
  : > "$log"
  if [ -n "$keep" ]; then setsid -- "$@" > "$log" 2>&1 < /dev/null &
  else setpriv --pdeathsig TERM -- "$@" > "$log" 2>&1 < /dev/null &
  fi
  pids=("$!" "${pids[@]}")
}

# $1: seconds; $2: what, for people; the rest: a command that succeeds when it is there. The newest program must live.
await() {
  local end=$((SECONDS + $1)) what=$2 pid=${pids[0]}
  shift 2
  until "$@"; do
    kill -0 "$pid" 2> /dev/null || { tail -n 20 "$dir"/*.log >&2; die "$what did not start: see above"; }
    [ "$SECONDS" -lt "$end" ] || { tail -n 20 "$dir"/*.log >&2; die "$what is not ready: see above"; }
    sleep 0.1
  done
}

say 'Installing what is missing'
tools/bootstrap.sh --packages

say 'Building'
{ cmake --preset release && cmake --build --preset release --target cbtap cbtap-loadgen cbtap-mock-kafka; } > "$dir/build.log" 2>&1 ||
  { tail -n 40 "$dir/build.log" >&2; die 'the build failed: see above'; }
bin=$PWD/build/release/bin

say 'Starting RabbitMQ, Redis, Kafka (embedded) and cbtap'
start "$dir/kafka.log" "$bin/cbtap-mock-kafka" --topic cb-events:4 --topic cb-events-dlq:1
await 20 Kafka grep -q '^127' "$dir/kafka.log"
kafka=$(grep -m 1 '^127' "$dir/kafka.log")
start "$dir/services.log" /usr/bin/python3 -B tests/services/services.py up --dir "$dir/services" ${keep:+--stay} rabbitmq redis
await 90 'RabbitMQ or Redis' test -f "$dir/services/env"
# shellcheck disable=SC1091
. "$dir/services/env"

cat > "$dir/cbtap.conf" << CONF
[cbtap]
server_name = demo
server_url  = https://edr.example/
http_listen = 127.0.0.1:0
state_dir   = $dir/state

[source.bus]
type = amqp
url  = $AMQP_URL
raw  = true

[source.pubsub]
type = redis
host = $REDIS_HOST
port = $REDIS_PORT

[sink.kafka]
type  = kafka
topic = cb-events
kafka.bootstrap.servers = $kafka
dead_letter_topic = cb-events-dlq
dead_letter_dir = $dir/dead-letters
CONF
start "$dir/cbtap.log" "$bin/cbtap" run -c "$dir/cbtap.conf"
await 20 cbtap grep -q 'listening for http' "$dir/cbtap.log"
url=http://127.0.0.1:$(sed -n 's/.*listening for http.* port=\([0-9]*\).*/\1/p' "$dir/cbtap.log")
await 20 cbtap curl -fs -o /dev/null "$url/readyz"

say "Sending $rate events a second: zips of sensor event logs by RabbitMQ, single events by Redis"
start "$dir/load-amqp.log" "$bin/cbtap-loadgen" publish --amqp "$AMQP_URL" --shape zip --rate $((rate - rate / 20)) \
  --events 0 --endpoints 500 --quiet
start "$dir/load-redis.log" "$bin/cbtap-loadgen" publish --redis "redis://$REDIS_HOST:$REDIS_PORT" --shape event \
  --rate $((rate / 20 + 1)) --events 0 --endpoints 100 --first-sensor-id 10001 --quiet
tools/watch.py --url "$url" --seconds "$seconds"

if [ -z "$keep" ]; then
  for pid in "${pids[@]:0:2}"; do
    kill "$pid" 2> /dev/null || { tail -n 5 "$dir"/load-*.log >&2; die 'the load ended early: see above'; }
    wait "$pid" 2> /dev/null || true
  done
  pids=("${pids[@]:2}")
fi

say 'Events in Kafka, as kcat reads them'
# The newest of each partition: the embedded Kafka keeps no more than some MiB of each.
kcat -C -q -e -b "$kafka" -t cb-events -o -1 -f 'partition %p, offset %o, key %k\n%s\n' > "$dir/events"
head -n 6 "$dir/events" | cut -c "1-${COLUMNS:-400}"

balance=0
if [ -z "$keep" ]; then
  say 'What became of everything that came in'
  tools/watch.py --url "$url" --balance || balance=1
  say 'Cleaning up'
  exit $balance
fi

keeping=1
cat > "$dir/stop" << STOP
#!/bin/sh
# Ends what tools/demo.sh --keep left running.
for pid in ${pids[*]}; do
  kill \$pid 2> /dev/null
  while readlink /proc/\$pid/exe > /dev/null 2>&1; do sleep 0.1; done
done
rm -rf '$dir'
STOP
cat << HOW

Everything goes on running, with the load. To look at it:

  status page    $url/
  live view      tools/watch.py --url $url
  metrics        curl $url/metrics
  events         kcat -C -b $kafka -t cb-events -o end
  cbtap's log    $dir/cbtap.log
  configuration  $dir/cbtap.conf
  RabbitMQ       $AMQP_URL
  Redis          $REDIS_HOST:$REDIS_PORT
  Kafka          $kafka

To stop it all and remove its folder:

  sh $dir/stop
HOW
