#!/bin/bash
# SPDX-License-Identifier: MIT
# Installs from Debian's packages whatever cbtap needs to run, to be built and to be tested; does nothing where all is there.
#
# usage: tools/bootstrap.sh [--run-time | --build | --packages]
#
# --run-time: what cbtap needs to run; --build: and to be built; --packages: and to be tested, but for Apache Kafka, which
# is no Debian package; by default all of it.
#
# Run as root or as a user who may use sudo. No service of the packages is left running, nor enabled for the next boot:
# the tests start their own RabbitMQ, Redis and Kafka, on free ports in temporary folders.
set -euo pipefail
cd "$(dirname "$0")/.."

kafka_version=4.1.1
# For SCRAM: see tests/services/kafka_service.py.
kafka_scram_version=3.9.1
kafka_dir=${CBTAP_KAFKA_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/cbtap/kafka-$kafka_version-tools}

run_time=(librabbitmq4 libprotobuf-c1 libck0 librdkafka1 libhiredis0.14 libmicrohttpd12 libzip4 libdeflate0 zlib1g libyajl2
  libini-config5 libsystemd0 libxxhash0 ca-certificates)
build=(cmake ninja-build gcc g++ libc6-dev pkg-config protobuf-c-compiler protobuf-compiler libprotobuf-c-dev
  librabbitmq-dev libck-dev librdkafka-dev libhiredis-dev libmicrohttpd-dev libzip-dev libdeflate-dev zlib1g-dev libyajl-dev
  libjsmn-dev libini-config-dev libsystemd-dev libxxhash-dev libssl-dev libcmocka-dev)
tests=(clang-14 clang-format-14 clang-tidy-14 clang-tools-14 libclang-rt-14-dev llvm-14 valgrind git curl procps
  python3 python3-pika python3-protobuf python3-redis python3-pytest python3-seccomp kcat rabbitmq-server redis-server
  default-jre-headless maven systemd gnuplot-nox stunnel4 rsyslog
  rsyslog-gnutls socat)

say() { printf 'bootstrap: %s\n' "$*"; }
die() { say "$*" >&2; exit 1; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"
  elif command -v sudo > /dev/null; then sudo -- "$@"
  else die "root is needed for: $* (there is no sudo here: run this script as root)"
  fi
}

missing_packages() {
  local have package
  have=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort -u)
  for package in "$@"; do
    grep -qxF -- "$package" <<< "$have" || echo "$package"
  done
}

# Debian starts a service as soon as it is installed, unless this file says no. The file ends its own power when the
# script that wrote it is gone, so that even a killed bootstrap does not keep the machine from starting services.
policy=/usr/sbin/policy-rc.d
policy_marker='written by bootstrap of cbtap'
policy_written=

forbid_service_start() {
  if [ -e $policy ] && ! grep -q "$policy_marker" $policy; then as_root mv $policy $policy.before-cbtap; fi
  as_root tee $policy > /dev/null << POLICY
#!/bin/sh
# $policy_marker, process $$: packages installed now must not start their services.
if [ -d /proc/$$ ]; then exit 101; fi
if [ -x $policy.before-cbtap ]; then exec $policy.before-cbtap "\$@"; fi
exit 0
POLICY
  as_root chmod 755 $policy
  policy_written=1
}

allow_service_start() {
  [ -n "$policy_written" ] || return 0
  policy_written=
  as_root rm -f $policy
  if [ -e $policy.before-cbtap ]; then as_root mv $policy.before-cbtap $policy; fi
}
trap allow_service_start EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The processes that run as the packages' own users; tests run their servers as the user who runs the tests.
service_processes() { ps -e -o pid=,user:32= | awk '$2 == "rabbitmq" || $2 == "redis" || $2 == "epmd" { print $1 }'; }

# $1: what service_processes said before; the rest: the packages that were installed.
stop_new_services() {
  local before=$1 new=" ${*:2} " units=() unit pid
  [[ $new != *" rabbitmq-server "* ]] || units+=(rabbitmq-server.service epmd.socket epmd.service)
  [[ $new != *" redis-server "* ]] || units+=(redis-server.service)
  [[ $new != *" rsyslog "* ]] || units+=(rsyslog.service syslog.socket)
  for unit in "${units[@]}"; do
    if [ -d /run/systemd/system ]; then as_root systemctl -q stop "$unit" 2> /dev/null || true; fi
    if command -v systemctl > /dev/null; then as_root systemctl -q disable "$unit" > /dev/null 2>&1 || true; fi
    if [ -e "/etc/init.d/${unit%.service}" ]; then as_root update-rc.d "${unit%.service}" disable > /dev/null 2>&1 || true; fi
  done
  for pid in $(service_processes); do
    grep -qx "$pid" <<< "$before" && continue
    say "stopping process $pid, which the installation started"
    as_root kill "$pid" 2> /dev/null || true
  done
}

install_packages() {
  local wanted=("$@") missing before
  mapfile -t missing < <(missing_packages "${wanted[@]}")
  if [ ${#missing[@]} -eq 0 ]; then say "all ${#wanted[@]} packages are installed"; return; fi
  say "installing ${#missing[@]} of ${#wanted[@]} packages: ${missing[*]}"
  before=$(service_processes 2> /dev/null || true)
  forbid_service_start
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300)
  as_root "${apt[@]}" update > /dev/null
  as_root "${apt[@]}" install --no-install-recommends "${missing[@]}" > "$log" 2>&1 ||
    { tail -n 30 "$log" >&2; die 'apt-get install failed: see above'; }
  allow_service_start
  stop_new_services "$before" "${missing[@]}"
  mapfile -t missing < <(missing_packages "${wanted[@]}")
  [ ${#missing[@]} -eq 0 ] || die "still missing: ${missing[*]}"
}

# $1: the version, $2: the folder for its jars
fetch_kafka() {
  local kafka_version=$1 kafka_dir=$2
  if [ -f "$kafka_dir/kafka-tools-$kafka_version.jar" ]; then say "Apache Kafka $kafka_version is in $kafka_dir"; return; fi
  say "fetching Apache Kafka $kafka_version by Maven into $kafka_dir"
  mkdir -p "$(dirname "$kafka_dir")"
  local aside
  aside=$(mktemp -d "$kafka_dir.XXXXXX")
  if ! mvn -q -B -f tests/services/kafka/pom.xml -Dkafka.version=$kafka_version \
    dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$aside"; then
    rm -rf "$aside"
    die 'Maven could not fetch Apache Kafka: see above'
  fi
  chmod 755 "$aside"
  # Where another bootstrap was faster its folder is as good as ours.
  mv -T "$aside" "$kafka_dir" 2> /dev/null || rm -rf "$aside"
  [ -f "$kafka_dir/kafka-tools-$kafka_version.jar" ] || die "$kafka_dir does not hold Kafka $kafka_version: remove it and try again"
}

[ -r /etc/debian_version ] || die 'this script knows Debian 12 only; docs/ARCHITECTURE.md names what cbtap needs'
log=$(mktemp)
trap 'allow_service_start; rm -f "$log"' EXIT
case "${1:-}" in
  --run-time) install_packages "${run_time[@]}" ;;
  --build) install_packages "${run_time[@]}" "${build[@]}" ;;
  --packages) install_packages "${run_time[@]}" "${build[@]}" "${tests[@]}" ;;
  '') install_packages "${run_time[@]}" "${build[@]}" "${tests[@]}"
    fetch_kafka $kafka_version "$kafka_dir"
    fetch_kafka $kafka_scram_version "$(dirname "$kafka_dir")/kafka-$kafka_scram_version-tools" ;;
  -h | --help) sed -n 's/^# \{0,1\}//; 3,11p' "$0" ;;
  *) die "unknown option $1: --run-time, --build, --packages or nothing" ;;
esac
