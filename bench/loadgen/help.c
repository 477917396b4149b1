/* SPDX-License-Identifier: MIT */
/* The help texts: what each command is for, its options with their defaults, and examples that work. */
#include "help.h"

#include <stdio.h>
#include <string.h>

#define FLEET                                                                                                \
    "The fleet:\n"                                                                                           \
    "  --shape SHAPE            what a message is: bundle (default), zip (of a bundle), or event\n"          \
    "                           (one event with its env)\n"                                                  \
    "  --events N               events in all (default 1000000; 0: until interrupted)\n"                     \
    "  --endpoints N            endpoints, which take turns, message by message (default 1000)\n"            \
    "  --events-per-message N   or A-B, drawn from the seed (default: bundle 716, as a real one;\n"          \
    "                           zip 1 to 66, 22 in the mean, as servers send them)\n"                        \
    "  --seed N                 another seed, other names and sizes (default 1)\n"                           \
    "  --start N                number of each endpoint's first event (default 0)\n"                         \
    "  --first-sensor-id N      sensor id of the first endpoint (default 1)\n"                               \
    "\n"

static const char overview[] =
    "cbtap-loadgen: the events of a fleet of endpoints, for testing cbtap\n"
    "\n"
    "  cbtap-loadgen publish   fills a RabbitMQ or a Redis with events, synthetic or from files\n"
    "  cbtap-loadgen verify    reads them from Kafka: is every event there, once, in order?\n"
    "  cbtap-loadgen archive   writes a tree of sensor event logs, as an EDR server archives them\n"
    "  cbtap-loadgen COMMAND --help\n"
    "\n"
    "The events of each endpoint lie exactly one second apart, from 2024-01-01T00:00:00Z on, so that\n"
    "sensor id and time stamp number every event, in every format. What is sent depends on the options\n"
    "alone: give `verify` the options that describe the fleet as `publish` got them, and it knows what\n"
    "must be there.\n"
    "\n"
    "A first try, with cbtap running between the two:\n"
    "  cbtap-loadgen publish --amqp amqp://guest:guest@127.0.0.1:5672/%2F --events 100000\n"
    "  cbtap-loadgen verify --kafka 127.0.0.1:9092 --events 100000 --expect 100000\n"
    "\n"
    "Exit status: 0 done (verify: all is well); 1 failed (verify: it is not); 2 wrong usage.\n";

static const char publish[] =
    "cbtap-loadgen publish (--amqp URL | --redis URL | --dry-run) [options] [--replay FILE...]\n"
    "\n"
    "Where to:\n"
    "  --amqp URL               RabbitMQ, e.g. amqp://guest:guest@127.0.0.1:5672/%2F . The exchanges of\n"
    "                           an EDR server are declared: api.rawsensordata gets bundles and zips,\n"
    "                           with the headers sensorId, hostId, nodeId, sensorHostName; api.events\n"
    "                           gets single events, by the routing key ingress.event.TYPE\n"
    "  --redis URL              Redis PUBSUB, e.g. redis://:password@127.0.0.1:6379 . Single events on\n"
    "                           ingress.event.TYPE, bundles and zips on ingress.event.bundle\n"
    "  --dry-run                nowhere: measures the generator\n"
    "  --exchange NAME          this exchange, which must exist, in place of the server's two\n"
    "  --queue NAME             straight into this queue\n"
    "  --channel NAME           this Redis channel for everything\n"
    "  --persistent             delivery mode 2: survives a restart of the broker (default: transient,\n"
    "                           as the server publishes)\n"
    "  --confirm                done only when the broker has confirmed every message\n"
    "  --no-check               do not mind messages that no queue and no subscriber takes\n"
    "\n" FLEET "From files, in place of the fleet:\n"
    "  --replay FILE...         bundles (.log), zips of bundles, server notifications (.ndjson, one a\n"
    "                           line; the file's name is the routing key). Once, or again and again\n"
    "                           until --events are sent. As they are; with --shape as zips, bundles or\n"
    "                           record by record\n"
    "  --sensor-id N --sensor-host-name NAME --host-id N --node-id N\n"
    "                           what the headers say (default 0 and \"\"); a single event without env\n"
    "                           gets it too\n"
    "  --no-headers             no headers, and no env added\n"
    "\n"
    "How fast:\n"
    "  --rate N                 events a second, open-loop: the schedule does not wait for a slow\n"
    "                           system; what it missed follows at once, and the progress line says by\n"
    "                           how much it is behind (default: flat out)\n"
    "  --zip-level N            1 to 12, of libdeflate (default 1)\n"
    "  --quiet                  no progress line\n"
    "\n"
    "Standard output:\n"
    "  messages=N events=N bytes=N seconds=S events_per_second=N [behind_max_seconds=S]\n"
    "\n"
    "Examples:\n"
    "  cbtap-loadgen publish --amqp amqp://guest:guest@127.0.0.1:5672/%2F --shape zip --rate 20000\n"
    "  cbtap-loadgen publish --amqp amqp://guest:guest@127.0.0.1:5672/%2F --persistent --confirm\n"
    "  cbtap-loadgen publish --redis 127.0.0.1:6379 --shape event --events 50000\n"
    "  cbtap-loadgen publish --amqp amqp://guest:guest@127.0.0.1:5672/%2F --sensor-id 7 \\\n"
    "      --sensor-host-name host-7 --replay logs/*.zip\n"
    "  cbtap-loadgen publish --dry-run --shape bundle --events 10000000\n";

static const char verify[] =
    "cbtap-loadgen verify --kafka HOST:PORT [options]\n"
    "\n"
    "Reads a topic from its beginning and numbers each record by its sensor_id and timestamp. An event is\n"
    "missing when its number never comes; a duplicate when it came before; out of order when it comes for\n"
    "the first time after a higher number of its endpoint came for the first time (so a run that is\n"
    "repeated, as at-least-once delivery may, is duplicates only). Each key must be the sensor id, and\n"
    "each endpoint must be in one partition.\n"
    "\n"
    "  --kafka HOST:PORT        bootstrap servers\n"
    "  --topic NAME             (default cb-events)\n"
    "  -X, --property KEY=VALUE any property of librdkafka\n"
    "  --expect N               wait until N different events are there (default: read what is there\n"
    "                           now)\n"
    "  --idle-timeout-ms N      stop when nothing comes for so long (default 30000)\n"
    "  --allow-duplicates       duplicates are reported, and no failure: the default\n"
    "  --no-duplicates          a duplicate is a failure\n"
    "  --any-key                do not look at the keys\n"
    "  --worst N                endpoints to name, the worst first (default 10)\n"
    "  --json                   the result as a JSON object\n"
    "  --quiet                  no progress line\n"
    "\n" FLEET
    "Without --events the number sent is unknown: what lies between --start and the highest number of\n"
    "each endpoint must be there.\n"
    "\n"
    "Standard output:\n"
    "  expected=N events=N missing=N duplicates=N out_of_order=N split_endpoints=N wrong_key=N\n"
    "  foreign=N unreadable=N records=N bytes=N seconds=S      (on one line)\n"
    "  sensor_id=N missing=N first_missing=N duplicates=N out_of_order=N ...     (the worst endpoints)\n"
    "\n"
    "foreign: of no endpoint of the fleet, or beyond its sequence. unreadable: without sensor_id or\n"
    "timestamp. Neither is a failure: other records may share the topic.\n"
    "\n"
    "Exit status 1 when something is missing or out of order, when a key or a partition is wrong, and\n"
    "when there is nothing at all.\n"
    "\n"
    "Examples:\n"
    "  cbtap-loadgen verify --kafka 127.0.0.1:9092 --shape zip --events 1000000 --expect 1000000\n"
    "  cbtap-loadgen verify --kafka 127.0.0.1:9092 --topic cb-events --no-duplicates --json\n";

static const char archive[] =
    "cbtap-loadgen archive --dir DIR [options]\n"
    "\n"
    "Writes each message into a file of its own, DIR/SENSOR ID/EventLog_NUMBER.log (a bundle) or .zip, as\n"
    "a server archives the sensor event logs that it receives. A name that is taken is passed over.\n"
    "\n"
    "  --dir DIR                the top folder, made where it is missing (not its parents)\n"
    "  --rate N                 events a second (default: flat out)\n"
    "  --zip-level N            1 to 12, of libdeflate (default 1)\n"
    "  --quiet                  no progress line\n"
    "\n" FLEET "Example:\n"
    "  cbtap-loadgen archive --dir /tmp/archive --shape zip --events 100000 --endpoints 50\n";

int cbt_help(const char *command)
{
    const char *text = overview;
    if (!strcmp(command, "publish"))
        text = publish;
    else if (!strcmp(command, "verify"))
        text = verify;
    else if (!strcmp(command, "archive"))
        text = archive;
    fputs(text, stdout);
    return 0;
}
