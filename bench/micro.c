/* SPDX-License-Identifier: MIT */
/*
 * Decoding and encoding alone: walks, decodes and encodes the same messages in memory, over and over, and
 * says what an event takes. The steps are cumulative: `decode` walks too, `encode` does all three.
 *
 * measure() is a function of its own and called nowhere else, so that callgrind can count it alone
 * (--toggle-collect=measure): see micro.py.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bytes.h"
#include "cbtap/decode.h"
#include "cbtap/format.h"
#include "message.h"

#define OUT_BYTES        (64u << 20)
#define MESSAGES_MAX     1000000u
#define DRAWS_MAX        100000000u /* events looked at to find enough of a rare type */
#define PROTOBUF_CONTENT "application/protobuf"

enum step { STEP_WALK, STEP_DECODE, STEP_ENCODE };

struct options {
    enum cbt_shape shape;
    enum step step;
    const char *type; /* NULL: the mix */
    uint64_t events;
    unsigned rounds;
    const char *const *files;
};

struct body {
    size_t at, len;
    struct cbt_environment env;
};

struct bench {
    struct options options;
    struct cbt_bytes data;
    struct body *bodies;
    size_t count;
    uint64_t events, bytes_out;
    struct cbt_walk *walk;
    struct cbt_decoder *decoder;
    const struct cbt_format *format;
    void *formatter;
    uint8_t *out;
};

void measure(struct bench *bench);

static const struct cbt_decode_limits limits = {
    .arena_max_bytes = 32u << 20,
    .record_max_bytes = 16u << 20,
    .zip_entries_max = 1000,
    .zip_inflated_max_bytes = 64u << 20,
    .zip_ratio_max = 1000,
    .records_max = 524288,
};

static bool refuse_growth(struct cbt_buf *buf, size_t bytes)
{
    (void)buf;
    (void)bytes;
    return false;
}

static void die(const char *text)
{
    fprintf(stderr, "cbtap-micro: %s\n", text);
    exit(1);
}

static void keep(struct bench *b, const struct cbt_message *m)
{
    static const char host_name[] = "FRA-WS-000001";
    if (b->count == MESSAGES_MAX)
        die("too many messages");
    b->bodies[b->count++] = (struct body){
        .at = b->data.len,
        .len = m->body.len,
        .env = {.sensor_id = m->sensor_id,
                .host_name = {(const uint8_t *)host_name, sizeof(host_name) - 1},
                .has_sensor_id = m->has_environment,
                .has_host_name = m->has_environment},
    };
    cbt_bytes_put(&b->data, m->body.data, m->body.len);
    b->events += m->events;
}

static void make_messages(struct bench *b)
{
    const struct options *o = &b->options;
    const struct cbt_feed_options feed_options = {
        .fleet = {.shape = o->shape,
                  .seed = 1,
                  .events = o->type && !o->files ? DRAWS_MAX : o->events,
                  .endpoints = 100,
                  .first_sensor_id = 1},
        .zip_level = 1,
        .shape = o->shape,
        .files = o->files,
        .has_environment = true,
        .sensor_id = 7,
        .host_name = "host-7",
    };
    struct cbt_feed *feed = NULL;
    struct cbt_message message;
    struct cbt_err err;
    if (cbt_feed_open(&feed, &feed_options, &err))
        die(err.text);
    b->bodies = cbt_bytes_checked(calloc(MESSAGES_MAX, sizeof(*b->bodies)));
    while (b->events < o->events && cbt_feed_next(feed, &message)) {
        const char *dot = strrchr(message.key, '.');
        if (!o->type || (dot && !strcmp(dot + 1, o->type)))
            keep(b, &message);
    }
    cbt_feed_close(feed);
    if (!b->events)
        die("there is no such event");
}

static void take_part(struct bench *b, const struct cbt_part *part, const struct cbt_environment *env)
{
    struct cbt_event event;
    enum cbt_dead_reason reason;
    struct cbt_err err;
    if (part->kind != CBT_PART_EVENT)
        die("a part is no event");
    if (b->options.step == STEP_WALK)
        return;
    if (cbt_decode_event(b->decoder, part->data, env, &event, &reason, &err))
        die(err.text);
    if (b->options.step == STEP_DECODE)
        return;
    struct cbt_buf buf = {.begin = b->out, .pos = b->out, .end = b->out + OUT_BYTES, .grow = refuse_growth};
    if (b->format->encode(b->formatter, &event, &buf, &err))
        die(err.text);
    b->bytes_out += cbt_buf_len(&buf);
}

static void pass(struct bench *b)
{
    const enum cbt_framing framing =
        b->options.shape == CBT_SHAPE_EVENT ? CBT_FRAMING_EVENT : CBT_FRAMING_BUNDLE;
    const struct cbt_text content_type =
        b->options.shape == CBT_SHAPE_ZIP ? CBT_TEXT("application/zip") : CBT_TEXT(PROTOBUF_CONTENT);
    struct cbt_part part;
    uint64_t events = 0;
    b->bytes_out = 0;
    for (size_t i = 0; i < b->count; i++) {
        const struct body *body = &b->bodies[i];
        cbt_walk_start(b->walk, (struct cbt_text){b->data.data + body->at, body->len}, content_type, framing);
        for (; cbt_walk_next(b->walk, &part); events++)
            take_part(b, &part, &body->env);
    }
    if (events != b->events)
        die("the walk found another number of events");
}

__attribute__((noinline)) void measure(struct bench *bench)
{
    pass(bench);
}

static void open_bench(struct bench *b)
{
    const struct cbt_format_options options = {.server_name = "cbserver"};
    struct cbt_err err;
    b->format = cbt_format_find("json");
    b->out = cbt_bytes_checked(malloc(OUT_BYTES));
    if (!b->format || cbt_walk_new(&b->walk, &limits, &err) || cbt_decoder_new(&b->decoder, &limits, &err) ||
        b->format->open(&b->formatter, &options, &err))
        die("it cannot be set up");
    make_messages(b);
}

static void close_bench(struct bench *b)
{
    b->format->close(b->formatter);
    cbt_decoder_free(b->decoder);
    cbt_walk_free(b->walk);
    cbt_bytes_free(&b->data);
    free(b->bodies);
    free(b->out);
}

/* Of this thread: on a busy machine the wall clock counts the others' time too. */
static int64_t thread_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int usage(void)
{
    fputs("usage: cbtap-micro [--shape bundle|zip|event] [--step walk|decode|encode] [--type TYPE] [--events "
          "N]\n"
          "                   [--rounds N] [FILE...]\n"
          "Walks, decodes and encodes N synthetic events (20000), or those of the files, in memory; prints "
          "the best of the\n"
          "rounds (50). --type (with --shape event): only events of this type, e.g. moduleload.\n",
          stderr);
    return 2;
}

static bool parse_choice(const char *text, const char *const *choices, int *ret_index)
{
    for (int i = 0; choices[i]; i++)
        if (!strcmp(text, choices[i])) {
            *ret_index = i;
            return true;
        }
    return false;
}

static bool parse(struct options *o, int argc, char **argv)
{
    static const char *const shapes[] = {"auto", "zip", "bundle", "event", NULL};
    static const char *const steps[] = {"walk", "decode", "encode", NULL};
    int i = 1, choice;
    *o = (struct options){.shape = CBT_SHAPE_BUNDLE, .step = STEP_ENCODE, .events = 20000, .rounds = 50};
    for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
        const char *value = argv[i + 1];
        if (!strcmp(argv[i], "--shape") && parse_choice(value, shapes, &choice) && choice)
            o->shape = (enum cbt_shape)choice;
        else if (!strcmp(argv[i], "--step") && parse_choice(value, steps, &choice))
            o->step = (enum step)choice;
        else if (!strcmp(argv[i], "--type"))
            o->type = value;
        else if (!strcmp(argv[i], "--events"))
            o->events = strtoull(value, NULL, 10);
        else if (!strcmp(argv[i], "--rounds"))
            o->rounds = (unsigned)strtoul(value, NULL, 10);
        else
            return false;
    }
    if (i < argc)
        o->files = (const char *const *)argv + i;
    return (i == argc || argv[i][0] != '-') && o->events && o->rounds &&
           (!o->type || o->shape == CBT_SHAPE_EVENT);
}

int main(int argc, char **argv)
{
    struct bench bench = {0};
    int64_t best_ns = INT64_MAX;
    if (!parse(&bench.options, argc, argv))
        return usage();
    open_bench(&bench);
    pass(&bench); /* caches, and memory that is allocated once */
    for (unsigned i = 0; i < bench.options.rounds; i++) {
        const int64_t started_ns = thread_ns();
        measure(&bench);
        const int64_t ns = thread_ns() - started_ns;
        best_ns = ns < best_ns ? ns : best_ns;
    }
    printf("events=%" PRIu64 " ns_per_event=%.1f bytes_in_per_event=%.1f bytes_out_per_event=%.1f\n",
           bench.events, (double)best_ns / (double)bench.events,
           (double)bench.data.len / (double)bench.events, (double)bench.bytes_out / (double)bench.events);
    close_bench(&bench);
    return 0;
}
