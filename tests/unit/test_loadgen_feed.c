/* SPDX-License-Identifier: MIT */
/* cbtap-loadgen publish: what it makes decodes, is numbered without a gap, has the real mix, and is the same
 * every time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

#include <sensor_events.pb-c.h>

#include "message.h"
#include "wire.h"

#define ENDPOINTS 50u

static const struct cbt_feed_options defaults = {
    .fleet = {.shape = CBT_SHAPE_BUNDLE,
              .seed = 1,
              .events = 100000,
              .endpoints = ENDPOINTS,
              .first_sensor_id = 1},
    .zip_level = 1,
    .has_environment = true,
    .host_name = "",
};

static struct cbt_feed *open_feed(const struct cbt_feed_options *options)
{
    struct cbt_feed *feed = NULL;
    struct cbt_err err = {0};
    if (cbt_feed_open(&feed, options, &err))
        fail_msg("%s", err.text);
    return feed;
}

/* Unpacks every record of a bundle with protobuf-c, and calls back. */
static uint32_t each_record(struct cbt_text bundle, void (*call)(const CbEventMsg *, size_t, void *),
                            void *arg)
{
    struct cbt_text record;
    size_t offset = 0;
    uint32_t n = 0;
    for (; cbt_wire_next_record(bundle, &offset, &record); n++) {
        CbEventMsg *e = cb_event_msg__unpack(NULL, record.len, record.data);
        assert_non_null(e);
        call(e, record.len, arg);
        cb_event_msg__free_unpacked(e, NULL);
    }
    assert_int_equal(offset, bundle.len);
    return n;
}

struct seen {
    uint64_t next[ENDPOINTS]; /* expected sequence number */
    uint32_t endpoint;
    uint64_t types[8], bytes, events; /* by the order of `names` */
};

enum { MODLOAD, FILEMOD, REGMOD, CROSSPROC, CHILDPROC, NETCONN, PROCESS, OTHER };

static int type_of(const CbEventMsg *e)
{
    return e->modload     ? MODLOAD
           : e->filemod   ? FILEMOD
           : e->regmod    ? REGMOD
           : e->crossproc ? CROSSPROC
           : e->childproc ? CHILDPROC
           : e->networkv2 ? NETCONN
           : e->process   ? PROCESS
                          : OTHER;
}

static void note_record(const CbEventMsg *e, size_t len, void *arg)
{
    struct seen *seen = arg;
    assert_true(e->header->has_timestamp);
    assert_int_equal(e->header->timestamp,
                     (int64_t)cbt_endpoint_filetime(seen->endpoint, seen->next[seen->endpoint]++));
    seen->types[type_of(e)]++;
    seen->bytes += len;
    seen->events++;
}

static void bundles_are_numbered_and_have_the_real_mix(void **state)
{
    static const uint32_t per_mille[] = {430, 310, 140, 60, 30, 20, 10, 0};
    struct seen seen = {0};
    struct cbt_message message;
    struct cbt_feed *feed = open_feed(&defaults);
    (void)state;
    while (cbt_feed_next(feed, &message)) {
        assert_string_equal(message.content_type, "application/protobuf");
        assert_true(cbt_message_is_log(&message));
        assert_true(message.has_environment);
        seen.endpoint = (uint32_t)message.sensor_id - 1;
        assert_int_equal(each_record(message.body, note_record, &seen), message.events);
    }
    assert_int_equal(seen.events, 100000);
    for (int i = 0; i <= OTHER; i++) {
        const double share = 1000.0 * (double)seen.types[i] / (double)seen.events;
        if (share < per_mille[i] * 0.85 || share > per_mille[i] * 1.15)
            fail_msg("type %d: %.1f per mille, not %u", i, share, per_mille[i]);
    }
    const double mean = (double)seen.bytes / (double)seen.events;
    if (mean < 265 || mean > 300)
        fail_msg("%.1f bytes an event", mean);
    cbt_feed_close(feed);
}

static void note_environment(const CbEventMsg *e, size_t len, void *arg)
{
    const struct cbt_message *message = arg;
    (void)len;
    assert_non_null(e->env);
    assert_int_equal(e->env->endpoint->sensorid, message->sensor_id);
    assert_int_equal(e->env->endpoint->hostid, message->host_id);
    assert_int_equal(e->env->endpoint->sensorhostname.len, strlen(message->host_name));
    assert_memory_equal(e->env->endpoint->sensorhostname.data, message->host_name,
                        strlen(message->host_name));
    assert_true(e->env->server->has_nodeid);
}

static void single_events_carry_their_environment_and_type(void **state)
{
    struct cbt_feed_options options = defaults;
    struct cbt_message message;
    struct seen seen = {0};
    options.fleet.shape = CBT_SHAPE_EVENT;
    options.fleet.events = 2000;
    options.fleet.start = 1000;
    for (uint32_t i = 0; i < ENDPOINTS; i++)
        seen.next[i] = 1000;
    struct cbt_feed *feed = open_feed(&options);
    (void)state;
    while (cbt_feed_next(feed, &message)) {
        char expected[64];
        CbEventMsg *e = cb_event_msg__unpack(NULL, message.body.len, message.body.data);
        assert_non_null(e);
        seen.endpoint = (uint32_t)message.sensor_id - 1;
        note_record(e, message.body.len, &seen);
        note_environment(e, message.body.len, &message);
        cb_event_msg__free_unpacked(e, NULL);
        snprintf(expected, sizeof(expected), "ingress.event.%s", cbt_wire_event_type(message.body));
        assert_string_equal(message.key, expected);
    }
    assert_int_equal(seen.events, 2000);
    cbt_feed_close(feed);
}

/* What libzip, which is not ours, reads from the zip. */
static struct cbt_bytes unzip(struct cbt_text file)
{
    struct cbt_bytes out = {0};
    zip_error_t error;
    zip_stat_t stat;
    zip_source_t *source = zip_source_buffer_create(file.data, file.len, 0, &error);
    zip_t *archive = zip_open_from_source(source, ZIP_RDONLY | ZIP_CHECKCONS, &error);
    assert_non_null(archive);
    assert_int_equal(zip_get_num_entries(archive, 0), 1);
    assert_int_equal(zip_stat_index(archive, 0, 0, &stat), 0);
    zip_file_t *entry = zip_fopen_index(archive, 0, 0);
    assert_int_equal(zip_fread(entry, cbt_bytes_reserve(&out, stat.size), stat.size), stat.size);
    assert_int_equal(zip_fclose(entry), 0); /* it would tell a wrong CRC */
    zip_discard(archive);
    out.len = stat.size;
    return out;
}

static void zips_hold_what_servers_send(void **state)
{
    struct cbt_feed_options options = defaults;
    struct cbt_message message;
    struct seen seen = {0};
    uint32_t smallest = UINT32_MAX, largest = 0, messages = 0;
    options.fleet.shape = CBT_SHAPE_ZIP;
    struct cbt_feed *feed = open_feed(&options);
    (void)state;
    for (; cbt_feed_next(feed, &message); messages++) {
        struct cbt_bytes bundle = unzip(message.body);
        assert_string_equal(message.content_type, "application/zip");
        seen.endpoint = (uint32_t)message.sensor_id - 1;
        assert_int_equal(each_record(cbt_bytes_text(&bundle), note_record, &seen), message.events);
        smallest = message.events < smallest ? message.events : smallest;
        largest = message.events > largest ? message.events : largest;
        cbt_bytes_free(&bundle);
    }
    assert_int_equal(seen.events, 100000);
    assert_int_equal(smallest, 1);
    assert_in_range(largest, 60, 66);
    assert_in_range(messages, 100000 / 25, 100000 / 20);
    cbt_feed_close(feed);
}

static void the_plan_tells_what_is_sent_to_the_last_event(void **state)
{
    static const enum cbt_shape shapes[] = {CBT_SHAPE_BUNDLE, CBT_SHAPE_ZIP, CBT_SHAPE_EVENT};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct cbt_feed_options options = defaults;
        struct cbt_message message;
        uint64_t totals[ENDPOINTS], sent[ENDPOINTS] = {0}, sum = 0;
        options.fleet.shape = shapes[i];
        options.fleet.seed = 77;
        options.fleet.events = 54321;
        cbt_plan_totals(&options.fleet, totals);
        struct cbt_feed *feed = open_feed(&options);
        assert_int_equal(cbt_feed_events(feed), 54321);
        while (cbt_feed_next(feed, &message)) {
            sent[message.sensor_id - 1] += message.events;
            sum += message.events;
        }
        assert_int_equal(sum, 54321);
        assert_memory_equal(sent, totals, sizeof(sent));
        cbt_feed_close(feed);
    }
}

static uint64_t digest_of(uint64_t seed)
{
    struct cbt_feed_options options = defaults;
    struct cbt_message message;
    uint64_t digest = 0;
    options.fleet.seed = seed;
    options.fleet.events = 20000;
    struct cbt_feed *feed = open_feed(&options);
    while (cbt_feed_next(feed, &message))
        for (size_t i = 0; i < message.body.len; i++)
            digest = (digest ^ message.body.data[i]) * 0x100000001b3u;
    cbt_feed_close(feed);
    return digest;
}

static void the_seed_decides_every_byte(void **state)
{
    (void)state;
    assert_true(digest_of(1) == digest_of(1));
    assert_true(digest_of(1) != digest_of(2));
}

static void wire_reader_stops_at_what_is_no_protobuf(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } broken[] = {
        {"\x0a", 1},       /* a length is missing */
        {"\x0a\x05xx", 4}, /* shorter than its length */
        {"\x08\xff", 2},   /* a varint without end */
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12},
        {"\x00\x01", 2},     /* field 0 */
        {"\x0b", 1},         /* a group */
        {"\x09\x01\x02", 3}, /* half of 64 bits */
    };
    struct cbt_wire_field field;
    (void)state;
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        struct cbt_wire wire =
            cbt_wire_of((struct cbt_text){(const uint8_t *)broken[i].bytes, broken[i].len});
        assert_false(cbt_wire_next(&wire, &field));
        assert_true(wire.broken);
    }
}

/* --- replay, on files of a folder of its own --- */

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/cbtap-test-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return system(command); /* NOLINT(cert-env33-c): a path of our own */
}

static const char *write_file(const char *name, const void *data, size_t len)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
    return path;
}

static void a_cut_bundle_is_refused_by_name(void **state)
{
    const char *files[] = {write_file("cut.log", "\x05\0\0\0ab", 6), NULL};
    struct cbt_feed_options options = defaults;
    struct cbt_feed *feed = NULL;
    struct cbt_err err = {0};
    (void)state;
    options.files = files;
    assert_int_not_equal(cbt_feed_open(&feed, &options, &err), 0);
    assert_non_null(strstr(err.text, "cut.log"));
    assert_non_null(strstr(err.text, "no whole record at byte 0"));
    files[0] = "/nonexistent/file.log";
    assert_int_not_equal(cbt_feed_open(&feed, &options, &err), 0);
    assert_non_null(strstr(err.text, "/nonexistent/file.log"));
    files[0] = write_file("broken.zip", "PK\3\4nonsense", 12);
    assert_int_not_equal(cbt_feed_open(&feed, &options, &err), 0);
    assert_non_null(strstr(err.text, "broken.zip"));
}

static void notifications_are_sent_line_by_line(void **state)
{
    const char *files[] = {write_file("watchlist.hit.process.ndjson", "{\"a\":1}\n\n{\"b\":2}", 16), NULL};
    struct cbt_feed_options options = defaults;
    struct cbt_message message;
    (void)state;
    options.fleet.events = 0;
    options.files = files;
    struct cbt_feed *feed = open_feed(&options);
    assert_true(cbt_feed_next(feed, &message));
    assert_string_equal(message.key, "watchlist.hit.process");
    assert_string_equal(message.content_type, "application/json");
    assert_int_equal(message.body.len, 7);
    assert_true(cbt_feed_next(feed, &message));
    assert_memory_equal(message.body.data, "{\"b\":2}", 7);
    assert_false(cbt_feed_next(feed, &message));
    cbt_feed_close(feed);
}

/* The first message of a synthetic feed, as a file. */
static const char *write_first_message(enum cbt_shape shape, const char *name, uint32_t *ret_events)
{
    struct cbt_feed_options options = defaults;
    struct cbt_message message;
    options.fleet.shape = shape;
    struct cbt_feed *feed = open_feed(&options);
    assert_true(cbt_feed_next(feed, &message));
    const char *path = write_file(name, message.body.data, message.body.len);
    *ret_events = message.events;
    cbt_feed_close(feed);
    return path;
}

static void a_replayed_bundle_takes_any_shape(void **state)
{
    uint32_t events;
    const char *files[] = {write_first_message(CBT_SHAPE_BUNDLE, "a.log", &events), NULL};
    struct cbt_feed_options options = defaults;
    struct cbt_message message;
    (void)state;
    options.fleet.events = 0;
    options.files = files;
    options.sensor_id = 7;
    options.host_name = "host-7";

    options.shape = CBT_SHAPE_ZIP;
    struct cbt_feed *feed = open_feed(&options);
    assert_true(cbt_feed_next(feed, &message));
    struct cbt_bytes bundle = unzip(message.body);
    assert_int_equal(message.events, events);
    assert_int_equal(message.sensor_id, 7);
    assert_false(cbt_feed_next(feed, &message));
    cbt_feed_close(feed);

    options.shape = CBT_SHAPE_AUTO;
    feed = open_feed(&options);
    assert_true(cbt_feed_next(feed, &message));
    assert_int_equal(message.body.len, bundle.len);
    assert_memory_equal(message.body.data, bundle.data, bundle.len);
    cbt_feed_close(feed);
    cbt_bytes_free(&bundle);

    uint32_t n = 0;
    options.shape = CBT_SHAPE_EVENT;
    feed = open_feed(&options);
    for (; cbt_feed_next(feed, &message); n++) {
        CbEventMsg *e = cb_event_msg__unpack(NULL, message.body.len, message.body.data);
        assert_non_null(e);
        note_environment(e, message.body.len, &message);
        cb_event_msg__free_unpacked(e, NULL);
        assert_memory_equal(message.key, "ingress.event.", 14);
    }
    assert_int_equal(n, events);
    cbt_feed_close(feed);
}

static void a_replayed_zip_is_sent_as_it_is_or_taken_apart(void **state)
{
    uint32_t events;
    const char *files[] = {write_first_message(CBT_SHAPE_ZIP, "a.zip", &events), NULL};
    struct cbt_feed_options options = defaults;
    struct cbt_message message;
    struct seen seen = {0};
    (void)state;
    options.files = files;
    options.fleet.events = 3 * (uint64_t)events; /* three times over */
    struct cbt_feed *feed = open_feed(&options);
    for (int i = 0; i < 3; i++) {
        assert_true(cbt_feed_next(feed, &message));
        assert_string_equal(message.content_type, "application/zip");
        assert_int_equal(message.events, events);
    }
    assert_false(cbt_feed_next(feed, &message));
    cbt_feed_close(feed);

    options.shape = CBT_SHAPE_BUNDLE;
    options.fleet.events = 0;
    feed = open_feed(&options);
    assert_true(cbt_feed_next(feed, &message));
    assert_string_equal(message.content_type, "application/protobuf");
    assert_int_equal(each_record(message.body, note_record, &seen), events);
    assert_false(cbt_feed_next(feed, &message));
    cbt_feed_close(feed);
}

static void real_records_have_the_type_of_their_file(void **state)
{
    static const char *const types[][2] = {
        {"childproc", "childproc"},
        {"crossprocopen", "crossprocopen"},
        {"emetmitigation", "emetmitigation"},
        {"filemod", "filemod"},
        {"module", "module"},
        {"moduleload", "moduleload"},
        {"netconn", "netconn"},
        {"procend", "procend"},
        {"process", "procstart"},
        {"processblock", "processblock"},
        {"regmod", "regmod"},
        {"remotethread", "remotethread"},
        {"tamper", "tamper"},
    };
    (void)state;
    if (access(CORPUS_DIR, R_OK)) {
        print_message("SKIPPED: there is no %s\n", CORPUS_DIR);
        skip();
    }
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        char path[512], key[64];
        const char *files[] = {path, NULL};
        struct cbt_feed_options options = defaults;
        struct cbt_message message;
        snprintf(path, sizeof(path), "%s/events/ingress.event.%s.log", CORPUS_DIR, types[i][0]);
        snprintf(key, sizeof(key), "ingress.event.%s", types[i][1]);
        options.files = files;
        options.shape = CBT_SHAPE_EVENT;
        options.fleet.events = 0;
        struct cbt_feed *feed = open_feed(&options);
        assert_true(cbt_feed_events(feed) > 0);
        while (cbt_feed_next(feed, &message))
            assert_string_equal(message.key, key);
        cbt_feed_close(feed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bundles_are_numbered_and_have_the_real_mix),
        cmocka_unit_test(single_events_carry_their_environment_and_type),
        cmocka_unit_test(zips_hold_what_servers_send),
        cmocka_unit_test(the_plan_tells_what_is_sent_to_the_last_event),
        cmocka_unit_test(the_seed_decides_every_byte),
        cmocka_unit_test(wire_reader_stops_at_what_is_no_protobuf),
        cmocka_unit_test(a_cut_bundle_is_refused_by_name),
        cmocka_unit_test(notifications_are_sent_line_by_line),
        cmocka_unit_test(a_replayed_bundle_takes_any_shape),
        cmocka_unit_test(a_replayed_zip_is_sent_as_it_is_or_taken_apart),
        cmocka_unit_test(real_records_have_the_type_of_their_file),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
