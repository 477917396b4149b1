/* SPDX-License-Identifier: MIT */
/* The table of commands, with the help that each one gives. */
#include <string.h>

#include "cli/cli.h"

#define COMMON_OPTIONS                                                                                       \
    "  -c FILE               the configuration; default " CBT_DEFAULT_CONFIG "\n" SET_OPTION                 \
    "  --help                this page\n"
#define SET_OPTION                                                                                           \
    "  -s SECTION.KEY=VALUE  sets a key over the file; may be given often, the last wins.\n"                 \
    "                        In source.NAME.KEY and sink.NAME.KEY the NAME holds no dots. Every user of\n"   \
    "                        the machine sees it in the process list: secrets as KEY=@FILE or\n"             \
    "                        'KEY=${VARIABLE}', in quotes, for the shell would put the value in\n"

static const char run_text[] =
    "Runs the daemon in the foreground: takes events from every [source.NAME], decodes them, publishes them "
    "to\n"
    "every [sink.NAME]. A message is acknowledged only when Kafka has confirmed every record made from it. A "
    "peer\n"
    "that is absent is tried until it is there.\n"
    "\n" COMMON_OPTIONS "\n"
    "Signals:\n"
    "  SIGTERM, SIGINT  stop: read no more, deliver what is in flight within shutdown_timeout_ms, "
    "acknowledge,\n"
    "                   close. What is left is not acknowledged, so it comes again. A second one ends at "
    "once\n"
    "  SIGHUP           reads the configuration again: log.level, log.format, and types and drop of "
    "[filter]\n"
    "                   take effect, and kafka.ssl.* files that have changed; for the rest it says what\n"
    "                   needs a restart. The files of tls.* need no signal: each connection reads them anew\n"
    "  SIGUSR1          writes a summary of the counters to the log\n"
    "\n";

static const char run_examples[] =
    "Examples:\n"
    "  cbtap run\n"
    "  cbtap run -c ./cbtap.conf -s cbtap.log.level=debug -s sink.kafka.kafka.linger.ms=50\n"
    "\n"
    "While it runs: metrics at http://127.0.0.1:9464/metrics, health at /healthz and /readyz, a status page "
    "at /\n"
    "(http_listen in [cbtap]).\n"
    "\n"
    "Exit status: 0 stopped by a signal, 1 failed while running, 2 wrong usage or configuration.\n";

static const char check_text[] =
    "Validates the configuration without touching anything, and says what is wrong with it: file, line, "
    "reason,\n"
    "and the key that was probably meant.\n"
    "\n" COMMON_OPTIONS
    "  --connect             also reaches every source and sink, and writes what it found, one line each\n"
    "  --print               writes the effective configuration to standard output: every key, defaults "
    "filled\n"
    "                        in, secrets masked\n"
    "\n";

static const char check_examples[] =
    "Examples:\n"
    "  cbtap check --connect\n"
    "  cbtap check -c ./cbtap.conf --print\n"
    "  cbtap check -s source.bus.type=amqp -s sink.kafka.type=kafka -c /dev/null\n"
    "\n"
    "Exit status: 0 all well, 1 a peer could not be reached (--connect), 2 wrong usage or configuration.\n";

static const char tail_text[] =
    "Shows live events on the terminal. It listens beside the daemon and takes nothing from it: RabbitMQ\n"
    "copies the events into a queue of tail's own, at most 16 MiB, which is gone when tail ends, however it\n"
    "ends; Redis has one subscriber more. The source's section says where, and what: raw and events, or\n"
    "channels.\n"
    "\n"
    "  --source NAME         listen as [source.NAME] does; default: the first of type amqp, else the first\n"
    "                        of type redis\n"
    "  --type T,...          only these types, with or without ingress.event., globs; default: as [filter]\n"
    "  --host GLOB           only those of these hosts, in any case of letters, e.g. 'web-*'\n"
    "  --format FORMAT       table (default): a line each, on a terminal cut to its width and in colours,\n"
    "                        unless NO_COLOR is set; json: an object a line\n"
    "  -n N                  ends after N events\n"
    "  --quiet               no lines about itself on standard error but warnings and errors\n" COMMON_OPTIONS
    "\n"
    "Where more comes than the terminal, or the reader of a pipe, takes, events are skipped, and it says "
    "how\n"
    "many. It ends with Ctrl-C, or when the reader has left. Nothing is acknowledged, so what is shown is "
    "no\n"
    "proof of delivery.\n"
    "\n";

static const char tail_examples[] =
    "Examples:\n"
    "  cbtap tail --type netconn,procstart --host 'web-*'\n"
    "  cbtap tail --format json -n 100 | jq -r .type | sort | uniq -c\n"
    "\n"
    "Exit status: 0 ended by a signal, -n or the reader, 1 the bus cannot be reached at the start, or "
    "standard\n"
    "output failed, 2 wrong usage or configuration.\n";

static const char export_text[] =
    "Turns files into their events, without a server: decodes them as the daemon does and writes them to\n"
    "standard output, a file or a sink. A PATH is a file (a sensor event log: a bundle, or a zip of "
    "bundles;\n"
    "or a single event; each may be a gz), a folder, a pattern in quotes ('7/*.log'), or - for standard\n"
    "input. A folder is walked with all below it, oldest files first; symbolic links are not followed. The\n"
    "name of a file's folder is the sensor id of records that have none, where it is a number. The files of "
    "a\n"
    "folder are written in order, several folders side by side. What cannot be decoded is a line on "
    "standard\n"
    "error, and the rest goes on.\n"
    "\n"
    "  --format FORMAT       json (default): an object a line; leef: LEEF 1.0, a line each; raw: the\n"
    "                        records as they came, as a bundle, which export reads again; table: a line\n"
    "                        each for people, in colours on a terminal, unless NO_COLOR is set; csv: RFC\n"
    "                        4180, a line of names first\n"
    "  --fields F,...        the columns of table and csv, by the keys of json; default: those that matter\n"
    "                        for the type (csv: for a single --type)\n"
    "  --profile PROFILE     key names of json and leef: documented (default), cbef-3.8\n"
    "  --type T,...          only these types of events, as filter.types: netconn,proc*\n"
    "  --host PATTERN        only events of hosts whose name matches, in any case: 'dc-*'; of a\n"
    "                        notification hostname or computer_name, its own or that of its entry of docs\n"
    "  --since TIME, --until TIME\n"
    "                        only events from then on, before then, by their own time: 2026-11-26,\n"
    "                        2026-11-26T18:00Z (UTC), or so long ago: -45m, -2h, -7d\n"
    "  --to TARGET           stdout (default); FILE, which has its name when all of it is on the disk; or a\n"
    "                        sink, through the daemon's pipeline: kafka:TOPIC, tcp:HOST:PORT, "
    "udp:HOST:PORT,\n"
    "                        syslog:[udp:|tcp:|tls:]HOST:PORT, file:PATH. Its other keys are those of the\n"
    "                        [sink.NAME] of that type in -c FILE, else of sink.to:\n"
    "                        -s sink.to.kafka.bootstrap.servers=...\n"
    "  --remove              removes each file when all made of it is written (a file: synced; a sink:\n"
    "                        delivered) and nothing of it was left out; so not with --type, --host,\n"
    "                        --since and --until\n"
    "  --follow              goes on with files that are new or grow, once they are quiet for a second, "
    "until\n"
    "                        Ctrl-C or SIGTERM; a FILE has its name then. Over restarts the daemon "
    "remembers,\n"
    "                        by a source of type archive\n"
    "  --jobs N              so many folders at once (a sink: workers); default: one for each processor\n"
    "  --header NAME=VALUE   a header of the AMQP message that the file came in, for what its records do\n"
    "                        not say: sensorId, sensorHostName, hostId, nodeId; may be given often\n"
    "  --notification KEY    each file holds notifications of this routing key, a JSON object a line\n"
    "  --quiet               no summary on standard error, and no progress where that is a terminal\n"
    "  -c FILE               a configuration; there is no default. These count: server_name, server_url,\n"
    "                        frame_max_bytes and log.* of [cbtap], [decode] and [filter]\n" SET_OPTION
    "  --help                this page\n"
    "\n";

static const char export_examples[] =
    "Examples:\n"
    "  cbtap export 7/*.log > events.ndjson\n"
    "  cbtap export --format csv --type netconn --to netconn.csv 7\n"
    "  cbtap export --to events.ndjson /path/to/archive/dir\n"
    "  cbtap export --host 'dc-*' --since -2d --to syslog:siem.example:514 /path/to/archive/dir\n"
    "  cbtap export --remove --to kafka:cb-events -c /etc/cbtap/cbtap.conf /path/to/archive/dir\n"
    "  cbtap export --type netconn,procstart --since -2d -s cbtap.server_url=https://edr.example/ 7\n"
    "  cbtap export --header sensorId=7 message.zip | head -n 3\n"
    "  curl -s https://files.example/1.log | cbtap export --quiet -\n"
    "\n"
    "Exit status: 0 all of it, 1 something could not be read, decoded or written, 2 wrong usage or\n"
    "configuration. A reader that has seen enough (| head) is no failure.\n";

static const char dlq_text[] =
    "Dead letters are what could not be decoded, or not be delivered for good: raw, in the topic\n"
    "dead_letter_topic, or as files in dead_letter_dir, of the first [sink.NAME].\n"
    "\n"
    "  list                  one a line, newest last: where, time, reason, source, sensor, routing key,\n"
    "                        bytes, position; of the topic (read once, without a consumer group) and of\n"
    "                        the directory\n"
    "  show WHERE            all that is known of one, and what decoding it says now\n"
    "  replay WHERE... | --all | --from PARTITION:OFFSET\n"
    "                        sends them through filter, decoding, format and sinks of the configuration\n"
    "                        again. What is broken still is a dead letter again, whose header `replays`\n"
    "                        counts. Kafka keeps the originals: it says with which --from to go on. A file\n"
    "                        is removed when all that was made of it is delivered. One of reason poison\n"
    "                        is replayed only where WHERE names it: what ended the daemon may end this, too\n"
    "\n"
    "WHERE is PARTITION:OFFSET or a file's name, as list writes it.\n"
    "\n"
    "  --reason R            list, replay: only those of that reason\n"
    "  --source S            list, replay: only those of [source.S]\n"
    "  --since TIME          list, replay: only those since 2026-11-26, 2026-11-26T18:00Z (UTC), or since "
    "so\n"
    "                        long ago: 45m, 2h, 7d\n"
    "  -n N                  list: the newest N\n"
    "  --format FORMAT       list: table (default) or json, an object a line\n"
    "  --raw                 show: its very bytes, to standard output\n"
    "  --all                 replay: all that there are at the start\n"
    "  --from PARTITION:OFFSET\n"
    "                        replay: all, of that partition those from there on; may be given often\n"
    "  --dry-run             replay: sends nothing, and says what would come of each\n" COMMON_OPTIONS "\n";

static const char dlq_examples[] =
    "Examples:\n"
    "  cbtap dlq list --since 2h\n"
    "  cbtap dlq show 0:1201\n"
    "  cbtap dlq show 0:1201 --raw | cbtap export -\n"
    "  cbtap dlq replay --all --reason record_too_large -s decode.record_max_bytes=67108864\n"
    "\n"
    "Exit status: 0 all of it (replay: all that was made is delivered), 1 something could not be read, is "
    "not\n"
    "there, is broken still or could not be replayed, 2 wrong usage or configuration.\n";

static const char version_text[] =
    "Writes the version of cbtap and of the libraries that it talks to its peers with.\n"
    "\n"
    "Exit status: 0.\n";

static const char help_text[] =
    "Explains a command: what it does, its options, examples, its exit status.\n"
    "\n"
    "  --configuration-md    writes the reference of all configuration keys (Markdown)\n"
    "  --events-md           writes the reference of all events and their keys (Markdown)\n"
    "\n";

static const char help_examples[] = "Examples:\n"
                                    "  cbtap help run\n"
                                    "  cbtap check --help\n"
                                    "  cbtap help --configuration-md\n"
                                    "\n"
                                    "Exit status: 0, or 2 for an unknown command.\n";

const struct cbt_command cbt_commands[] = {
    {"run", "[-c FILE] [-s KEY=VALUE]...", "the daemon, in the foreground", run_text, run_examples, "cd",
     cbt_cmd_run},
    {"check", "[-c FILE] [-s KEY=VALUE]... [--connect] [--print]",
     "validates the configuration; --connect reaches every source and sink", check_text, check_examples,
     "cdkp", cbt_cmd_check},
    {"tail",
     "[-c FILE] [-s KEY=VALUE]... [--source NAME] [--type T,...] [--host GLOB]\n"
     "                  [--format table|json] [-n N] [--quiet]",
     "live events on the terminal", tail_text, tail_examples, "cdStOFnq", cbt_cmd_tail},
    {"export",
     "[-c FILE] [-s KEY=VALUE]... [--format FORMAT] [--profile PROFILE]\n"
     "                    [--fields F,...] [--type T,...] [--host PATTERN] [--since TIME]\n"
     "                    [--until TIME] [--to TARGET] [--remove] [--follow] [--jobs N] [--header "
     "NAME=VALUE]... "
     "[--notification KEY] [--quiet] "
     "PATH...",
     "turns files into their events, without a server", export_text, export_examples, "cFPitOTUojxlHNqw",
     cbt_cmd_export},
    {"dlq",
     "list|show|replay [-c FILE] [-s KEY=VALUE]... [--reason R] [--source S] [--since TIME] [-n N]\n"
     "                 [--format table|json] [--raw] [--all] [--from PARTITION:OFFSET]... [--dry-run] "
     "[WHERE]...",
     "looks at dead letters and sends them through again", dlq_text, dlq_examples, "cdRSTnFrayfw",
     cbt_cmd_dlq},
    {"migrate", "", "makes a cbtap.conf from a cb-event-forwarder.conf", NULL, NULL, "", NULL},
    {"version", "", "the version", version_text, "", "", cbt_cmd_version},
    {"help", "[COMMAND]", "explains a command", help_text, help_examples, "mew", cbt_cmd_help},
};
const size_t cbt_command_count = sizeof cbt_commands / sizeof cbt_commands[0];

const struct cbt_command *cbt_command_find(const char *name)
{
    for (size_t i = 0; i < cbt_command_count; i++)
        if (strcmp(cbt_commands[i].name, name) == 0)
            return &cbt_commands[i];
    return NULL;
}
