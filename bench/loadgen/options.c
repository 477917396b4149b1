/* SPDX-License-Identifier: MIT */
/* Parses the command line by one table of options, each with the commands that know it. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>

#define P (1u << CBT_COMMAND_PUBLISH)
#define V (1u << CBT_COMMAND_VERIFY)
#define A (1u << CBT_COMMAND_ARCHIVE)

/* OPTION(name, argument, commands that know it) */
#define OPTIONS(OPTION)                                                                                      \
    OPTION(amqp, required_argument, P)                                                                       \
    OPTION(redis, required_argument, P)                                                                      \
    OPTION(dry_run, no_argument, P)                                                                          \
    OPTION(dir, required_argument, A)                                                                        \
    OPTION(shape, required_argument, P | V | A)                                                              \
    OPTION(events, required_argument, P | V | A)                                                             \
    OPTION(endpoints, required_argument, P | V | A)                                                          \
    OPTION(events_per_message, required_argument, P | V | A)                                                 \
    OPTION(seed, required_argument, P | V | A)                                                               \
    OPTION(start, required_argument, P | V | A)                                                              \
    OPTION(first_sensor_id, required_argument, P | V | A)                                                    \
    OPTION(replay, required_argument, P)                                                                     \
    OPTION(sensor_id, required_argument, P)                                                                  \
    OPTION(sensor_host_name, required_argument, P)                                                           \
    OPTION(host_id, required_argument, P)                                                                    \
    OPTION(node_id, required_argument, P)                                                                    \
    OPTION(no_headers, no_argument, P)                                                                       \
    OPTION(rate, required_argument, P | A)                                                                   \
    OPTION(persistent, no_argument, P)                                                                       \
    OPTION(confirm, no_argument, P)                                                                          \
    OPTION(no_check, no_argument, P)                                                                         \
    OPTION(exchange, required_argument, P)                                                                   \
    OPTION(queue, required_argument, P)                                                                      \
    OPTION(channel, required_argument, P)                                                                    \
    OPTION(zip_level, required_argument, P | A)                                                              \
    OPTION(kafka, required_argument, V)                                                                      \
    OPTION(topic, required_argument, V)                                                                      \
    OPTION(property, required_argument, V)                                                                   \
    OPTION(expect, required_argument, V)                                                                     \
    OPTION(idle_timeout_ms, required_argument, V)                                                            \
    OPTION(allow_duplicates, no_argument, V)                                                                 \
    OPTION(no_duplicates, no_argument, V)                                                                    \
    OPTION(any_key, no_argument, V)                                                                          \
    OPTION(worst, required_argument, V)                                                                      \
    OPTION(json, no_argument, V)                                                                             \
    OPTION(quiet, no_argument, P | V | A)                                                                    \
    OPTION(help, no_argument, P | V | A)

#define ID_BASE 256 /* above the characters that getopt_long returns */

enum option_id {
    OPT_none,
#define ID(name, argument, commands) OPT_##name,
    OPTIONS(ID)
#undef ID
        OPT_COUNT,
};

static char names[][32] = {"",
#define NAME(name, argument, commands) #name,
                           OPTIONS(NAME)
#undef NAME
};

/* The table's names are identifiers of C; the user's have hyphens. */
static void put_hyphens(void)
{
    for (int i = 1; i < OPT_COUNT; i++)
        for (char *c = names[i]; (c = strchr(c, '_')); c++)
            *c = '-';
}

static const int arguments[] = {0,
#define ARGUMENT(name, argument, commands) argument,
                                OPTIONS(ARGUMENT)
#undef ARGUMENT
};

static const unsigned known_to[] = {0,
#define KNOWN(name, argument, commands) (commands),
                                    OPTIONS(KNOWN)
#undef KNOWN
};

static int read_number(const char *option, const char *text, int64_t min, int64_t max, int64_t *ret_value,
                       struct cbt_err *err)
{
    char *end;
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    if (end == text || *end || errno || value < min || value > max)
        return cbt_err_set(err, CBT_EINVAL, "--%s wants a number from %" PRId64 " to %" PRId64 ", not '%s'",
                           option, min, max, text);
    *ret_value = value;
    return 0;
}

/* N or A-B. */
static int read_range(const char *option, const char *text, uint32_t max, uint32_t *ret_min,
                      uint32_t *ret_max, struct cbt_err *err)
{
    const char *hyphen = strchr(text, '-');
    char *first = cbt_bytes_checked(strndup(text, hyphen ? (size_t)(hyphen - text) : strlen(text)));
    int64_t a = 0, b = 0;
    int rc = read_number(option, first, 1, max, &a, err);
    b = a;
    if (!rc && hyphen)
        rc = read_number(option, hyphen + 1, a, max, &b, err);
    free(first);
    if (rc)
        return rc;
    *ret_min = (uint32_t)a;
    *ret_max = (uint32_t)b;
    return 0;
}

static int read_shape(const char *text, enum cbt_shape *ret_shape, struct cbt_err *err)
{
    if (!strcmp(text, "zip"))
        *ret_shape = CBT_SHAPE_ZIP;
    else if (!strcmp(text, "bundle"))
        *ret_shape = CBT_SHAPE_BUNDLE;
    else if (!strcmp(text, "event"))
        *ret_shape = CBT_SHAPE_EVENT;
    else
        return cbt_err_set(err, CBT_EINVAL, "--shape wants zip, bundle or event, not '%s'", text);
    return 0;
}

static int add_to_list(const char **list, const char *text, struct cbt_err *err)
{
    size_t n = 0;
    while (list[n])
        n++;
    if (n == CBT_OPTIONS_LIST_MAX)
        return cbt_err_set(err, CBT_ELIMIT, "more than %d of them", CBT_OPTIONS_LIST_MAX);
    list[n] = text;
    return 0;
}

static int set_target(struct cbt_loadgen_options *o, const struct cbt_target *kind, const char *url,
                      struct cbt_err *err)
{
    if (o->publish.kind)
        return cbt_err_set(err, CBT_EINVAL, "only one of --amqp, --redis and --dry-run");
    o->publish.kind = kind;
    o->publish.target.url = url;
    return 0;
}

/* The options that say what the fleet sends: the same for every command. */
static int set_fleet_option(struct cbt_loadgen_options *o, int id, const char *value, struct cbt_err *err)
{
    struct cbt_fleet_options *fleet = &o->publish.feed.fleet;
    const char *name = names[id];
    int64_t n = 0;
    int rc;
    switch (id) {
    case OPT_shape:
        return read_shape(value, &o->publish.feed.shape, err);
    case OPT_events:
        rc = read_number(name, value, 0, INT64_MAX / 1000, &n, err);
        fleet->events = (uint64_t)n;
        return rc;
    case OPT_endpoints:
        rc = read_number(name, value, 1, 10000000, &n, err);
        fleet->endpoints = (uint32_t)n;
        return rc;
    case OPT_events_per_message:
        return read_range(name, value, 1000000, &fleet->events_min, &fleet->events_max, err);
    case OPT_seed:
        rc = read_number(name, value, 0, INT64_MAX, &n, err);
        fleet->seed = (uint64_t)n;
        return rc;
    case OPT_start:
        rc = read_number(name, value, 0, 10000000000, &n, err);
        fleet->start = (uint64_t)n;
        return rc;
    default:
        rc = read_number(name, value, 1, INT32_MAX - 10000000, &n, err);
        fleet->first_sensor_id = (uint32_t)n;
        return rc;
    }
}

static int set_publish_option(struct cbt_loadgen_options *o, int id, const char *value, struct cbt_err *err)
{
    struct cbt_feed_options *feed = &o->publish.feed;
    struct cbt_target_options *target = &o->publish.target;
    const char *name = names[id];
    int64_t n = 0;
    int rc = 0;
    switch (id) {
    case OPT_amqp:
        return set_target(o, &cbt_target_amqp, value, err);
    case OPT_redis:
        return set_target(o, &cbt_target_redis, value, err);
    case OPT_dry_run:
        return set_target(o, &cbt_target_none, "", err);
    case OPT_dir:
        return set_target(o, &cbt_target_archive, value, err);
    case OPT_replay:
        feed->files = o->files;
        return add_to_list(o->files, value, err);
    case OPT_sensor_id:
        rc = read_number(name, value, INT32_MIN, INT32_MAX, &n, err);
        feed->sensor_id = (int32_t)n;
        break;
    case OPT_sensor_host_name:
        feed->host_name = value;
        break;
    case OPT_host_id:
        rc = read_number(name, value, INT64_MIN, INT64_MAX, &feed->host_id, err);
        break;
    case OPT_node_id:
        rc = read_number(name, value, INT32_MIN, INT32_MAX, &n, err);
        feed->node_id = (int32_t)n;
        break;
    case OPT_no_headers:
        feed->has_environment = false;
        break;
    case OPT_rate:
        rc = read_number(name, value, 1, 1000000000, &n, err);
        o->publish.rate_events_per_s = (uint64_t)n;
        break;
    case OPT_persistent:
        target->persistent = true;
        break;
    case OPT_confirm:
        target->confirm = true;
        break;
    case OPT_no_check:
        target->check = false;
        break;
    case OPT_exchange:
        target->exchange = value;
        break;
    case OPT_queue:
        target->queue = value;
        break;
    case OPT_channel:
        target->channel = value;
        break;
    default:
        rc = read_number(name, value, 1, 12, &n, err);
        feed->zip_level = (int)n;
        break;
    }
    return rc;
}

static int set_verify_option(struct cbt_loadgen_options *o, int id, const char *value, struct cbt_err *err)
{
    struct cbt_verify_options *verify = &o->verify;
    const char *name = names[id];
    int64_t n = 0;
    int rc = 0;
    switch (id) {
    case OPT_kafka:
        verify->bootstrap = value;
        break;
    case OPT_topic:
        verify->topic = value;
        break;
    case OPT_property:
        return add_to_list(o->properties, value, err);
    case OPT_expect:
        rc = read_number(name, value, 1, INT64_MAX, &n, err);
        verify->expect = (uint64_t)n;
        break;
    case OPT_idle_timeout_ms:
        rc = read_number(name, value, 1, INT_MAX, &n, err);
        verify->idle_timeout_ms = (int)n;
        break;
    case OPT_allow_duplicates:
        verify->fail_on_duplicates = false;
        break;
    case OPT_no_duplicates:
        verify->fail_on_duplicates = true;
        break;
    case OPT_any_key:
        verify->any_key = true;
        break;
    case OPT_worst:
        rc = read_number(name, value, 0, 10000000, &n, err);
        verify->worst = (uint32_t)n;
        break;
    default:
        verify->json = true;
        break;
    }
    return rc;
}

static int set_option(struct cbt_loadgen_options *o, int id, const char *value, struct cbt_err *err)
{
    if (id == OPT_help)
        o->help = true;
    else if (id == OPT_quiet)
        o->publish.quiet = o->verify.quiet = true;
    else if (id >= OPT_shape && id <= OPT_first_sensor_id)
        return set_fleet_option(o, id, value, err);
    else if (id >= OPT_kafka)
        return set_verify_option(o, id, value, err);
    else
        return set_publish_option(o, id, value, err);
    return 0;
}

/* What only the whole command line shows. */
static int complete(struct cbt_loadgen_options *o, enum cbt_command command, bool has_events,
                    struct cbt_err *err)
{
    struct cbt_feed_options *feed = &o->publish.feed;
    const struct cbt_target_options *target = &o->publish.target;
    feed->fleet.shape = feed->shape == CBT_SHAPE_AUTO ? CBT_SHAPE_BUNDLE : feed->shape;
    if (!has_events)
        feed->fleet.events = feed->files || command == CBT_COMMAND_VERIFY ? 0 : 1000000;
    o->verify.fleet = feed->fleet;
    if (feed->fleet.events_max && feed->fleet.shape == CBT_SHAPE_EVENT && feed->fleet.events_max != 1)
        return cbt_err_set(err, CBT_EINVAL, "--shape event has one event in a message");
    if (command == CBT_COMMAND_VERIFY)
        return o->verify.bootstrap ? 0 : cbt_err_set(err, CBT_EINVAL, "--kafka HOST:PORT is missing");
    if (command == CBT_COMMAND_ARCHIVE) {
        if (!o->publish.kind)
            return cbt_err_set(err, CBT_EINVAL, "--dir DIR is missing");
        if (feed->fleet.shape == CBT_SHAPE_EVENT)
            return cbt_err_set(err, CBT_EINVAL,
                               "an archive holds bundles or zips: --shape bundle or --shape zip");
        return 0;
    }
    if (!o->publish.kind)
        return cbt_err_set(err, CBT_EINVAL, "one of --amqp URL, --redis URL and --dry-run is missing");
    if (target->exchange && target->queue)
        return cbt_err_set(err, CBT_EINVAL, "only one of --exchange and --queue");
    return 0;
}

static struct cbt_loadgen_options defaults(void)
{
    return (struct cbt_loadgen_options){
        .publish = {.feed = {.fleet = {.seed = 1, .endpoints = 1000, .first_sensor_id = 1},
                             .zip_level = 1,
                             .has_environment = true,
                             .host_name = ""},
                    .target = {.check = true}},
        .verify = {.topic = "cb-events", .idle_timeout_ms = 30000, .worst = 10},
    };
}

int cbt_options_parse(struct cbt_loadgen_options *ret_options, enum cbt_command command, int argc,
                      char **argv, struct cbt_err *err)
{
    struct option table[OPT_COUNT + 1] = {0};
    struct cbt_loadgen_options *o = ret_options;
    bool has_events = false;
    int id, n = 0;
    put_hyphens();
    *o = defaults();
    o->verify.properties = o->properties;
    for (int i = 1; i < OPT_COUNT; i++) {
        if (known_to[i] & 1u << command)
            table[n++] = (struct option){names[i], arguments[i], NULL, ID_BASE + i};
    }
    opterr = 0;
    optind = 1;
    while ((id = getopt_long(argc, argv, "-:hX:", table, NULL)) != -1) {
        int rc;
        if (id == 1) { /* no option: one more file to replay */
            if (!o->publish.feed.files)
                return cbt_err_set(err, CBT_EINVAL, "'%s' is no option; files come after --replay", optarg);
            rc = add_to_list(o->files, optarg, err);
        } else if (id == '?') {
            return cbt_err_set(err, CBT_EINVAL, "%s is not an option of %s", argv[optind - 1], argv[0]);
        } else if (id == ':') {
            return cbt_err_set(err, CBT_EINVAL, "%s wants a value", argv[optind - 1]);
        } else {
            const int option = id == 'h' ? OPT_help : id == 'X' ? OPT_property : id - ID_BASE;
            rc = set_option(o, option, optarg, err);
            has_events = has_events || option == OPT_events;
        }
        if (rc)
            return rc;
    }
    return o->help ? 0 : complete(o, command, has_events, err);
}
