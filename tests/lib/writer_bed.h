/* SPDX-License-Identifier: MIT */
/*
 * For tests of the sinks that write bytes: a folder, a sink, frames made by hand whose records say
 * "<sensor> <number> ...", and a judge of what arrived: nothing missing, in order for each sensor.
 */
#ifndef TESTS_LIB_WRITER_BED_H
#define TESTS_LIB_WRITER_BED_H

/* cmocka.h wants the others before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cbtap/clock.h"
#include "sink/writer.h"

#define BED_WAIT_MS 30000
#define BED_BATCH   1024
#define BED_SENSORS 16

struct bed {
    char dir[64], path[96], dead[96];
    struct cbt_sink_config config;
    struct cbt_options_cbtap options;
    struct cbt_ring ring;
    struct cbt_alarm alarm, *alarms[1];
    bool touched[1];
    struct cbt_settler settler;
    struct cbt_stats stats;
    const struct cbt_sink *sink;
    void *self;
    size_t settled;
};

struct bed_frame {
    struct cbt_frame frame;
    uint32_t count;
    char *values;
    struct cbt_record *records;
};

static inline struct bed *bed_new(const char *type)
{
    struct bed *bed = calloc(1, sizeof(*bed));
    assert_non_null(bed);
    snprintf(bed->dir, sizeof(bed->dir), "/tmp/cbtap-writer-XXXXXX");
    assert_non_null(mkdtemp(bed->dir));
    snprintf(bed->path, sizeof(bed->path), "%s/out", bed->dir);
    snprintf(bed->dead, sizeof(bed->dead), "%s/dead", bed->dir);
    bed->config = (struct cbt_sink_config){.name = "out",
                                           .type = type,
                                           .format = "json",
                                           .json_profile = "documented",
                                           .dead_letter_dir = bed->dead};
    bed->options = (struct cbt_options_cbtap){.server_name = "server.1", .inflight_bytes = 64u << 20};
    assert_int_equal(cbt_ring_init(&bed->ring, 4096, NULL), 0);
    assert_int_equal(cbt_alarm_init(&bed->alarm, NULL), 0);
    bed->alarms[0] = &bed->alarm;
    bed->settler = (struct cbt_settler){
        .receivers = 1, .rings = &bed->ring, .alarms = bed->alarms, .touched = bed->touched};
    bed->sink = cbt_sink_find(type);
    assert_non_null(bed->sink);
    return bed;
}

static inline void bed_open(struct bed *bed)
{
    struct cbt_err err = {0};
    const struct cbt_sink_context context = {.config = &bed->config,
                                             .options = &bed->options,
                                             .settler = &bed->settler,
                                             .stats = &bed->stats,
                                             .workers = 1,
                                             .records_max = BED_BATCH};
    if (bed->sink->check(&bed->config, &bed->options, &err) != 0 ||
        bed->sink->open(&bed->self, &context, &err) != 0)
        fail_msg("open: %s", err.text);
}

static inline void bed_close(struct bed *bed)
{
    bed->sink->close(bed->self);
    bed->self = NULL;
}

static inline void bed_remove_dir(const char *path)
{
    char name[512];
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.')
            unlink(name);
    }
    if (dir != NULL)
        closedir(dir);
    rmdir(path);
}

static inline void bed_free(struct bed *bed)
{
    bed_close(bed);
    bed_remove_dir(bed->dead);
    bed_remove_dir(bed->dir);
    cbt_ring_free(&bed->ring);
    cbt_alarm_free(&bed->alarm);
    free(bed);
}

/* Records of `size` bytes, numbered from `first` on. */
static inline struct bed_frame *bed_frame_new(uint32_t count, int32_t sensor, uint32_t first, uint32_t size)
{
    struct bed_frame *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->count = count;
    f->values = calloc(count, size);
    f->records = calloc(count, sizeof(*f->records));
    assert_non_null(f->values);
    assert_non_null(f->records);
    atomic_init(&f->frame.pending, count);
    for (uint32_t i = 0; i < count; i++) {
        char *value = f->values + (size_t)i * size;
        memset(value, '.', size);
        int len = snprintf(value, size, "%d %u ", sensor, first + i);
        value[len] = '.';
        f->records[i] = (struct cbt_record){.frame = &f->frame,
                                            .value = (const uint8_t *)value,
                                            .value_len = size,
                                            .type_name = CBT_TEXT("ingress.event.procstart"),
                                            .event_type_name = CBT_TEXT("proc"),
                                            .unix_ms = 1600000000123,
                                            .sensor_id = sensor};
    }
    return f;
}

static inline void bed_frame_free(struct bed_frame *f)
{
    free(f->values);
    free(f->records);
    free(f);
}

static inline void bed_submit(struct bed *bed, struct bed_frame *f)
{
    struct cbt_record *records[BED_BATCH];
    for (uint32_t done = 0, n; done < f->count; done += n) {
        n = f->count - done < BED_BATCH ? f->count - done : BED_BATCH;
        for (uint32_t i = 0; i < n; i++)
            records[i] = &f->records[done + i];
        bed->sink->submit(bed->self, 0, records, n);
    }
}

static inline void bed_await_settled(struct bed *bed, size_t count)
{
    int64_t deadline = cbt_now_ns() + BED_WAIT_MS * WRITER_NS_PER_MS;
    while (bed->settled < count) {
        cbt_alarm_prepare(&bed->alarm);
        struct cbt_frame *frame = cbt_ring_pop(&bed->ring);
        if (frame != NULL) {
            cbt_alarm_cancel(&bed->alarm);
            assert_int_equal(atomic_load(&frame->pending), 0);
            bed->settled++;
            continue;
        }
        if (cbt_now_ns() > deadline)
            fail_msg("%zu of %zu frames settled", bed->settled, count);
        cbt_alarm_wait(&bed->alarm, -1, 1000);
    }
}

static inline bool bed_nothing_settled(struct bed *bed)
{
    return cbt_ring_empty(&bed->ring);
}

static inline bool bed_ready(struct bed *bed)
{
    char reason[512];
    return bed->sink->ready(bed->self, reason, sizeof(reason));
}

static inline uint64_t bed_counter(const struct bed *bed, enum cbt_counter counter)
{
    return atomic_load(&bed->stats.counters[counter]);
}

/* Polls a condition of another thread that has no event of its own. */
#define BED_AWAIT(condition)                                                                                 \
    do {                                                                                                     \
        int64_t await_deadline = cbt_now_ns() + BED_WAIT_MS * WRITER_NS_PER_MS;                              \
        while (!(condition)) {                                                                               \
            if (cbt_now_ns() > await_deadline)                                                               \
                fail_msg("never true: %s", #condition);                                                      \
            nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);                                         \
        }                                                                                                    \
    } while (0)

/* What arrived. */
struct bed_found {
    size_t records, duplicates, broken;
    unsigned next[BED_SENSORS];
};

/* One frame less its framing. */
static inline void bed_judge(struct bed_found *found, const char *text, size_t len)
{
    char copy[32] = "";
    unsigned sensor, number;
    memcpy(copy, text, len < sizeof(copy) - 1 ? len : sizeof(copy) - 1);
    if (sscanf(copy, "%u %u", &sensor, &number) != 2 || sensor >= BED_SENSORS || text[len - 1] != '.') {
        found->broken++;
        return;
    }
    found->records++;
    if (number > found->next[sensor])
        fail_msg("sensor %u: %u where %u was expected: missing or out of order", sensor, number,
                 found->next[sensor]);
    if (number < found->next[sensor])
        found->duplicates++;
    else
        found->next[sensor]++;
}

static inline void bed_judge_lines(struct bed_found *found, const char *data, size_t len)
{
    while (data != NULL && len > 0) {
        const char *end = memchr(data, '\n', len);
        if (end == NULL)
            fail_msg("half a line at the end: %.*s", len < 40 ? (int)len : 40, data);
        if (end == data)
            fail_msg("an empty line");
        bed_judge(found, data, (size_t)(end - data));
        len -= (size_t)(end + 1 - data);
        data = end + 1;
    }
}

static inline void bed_judge_file(struct bed_found *found, const char *path)
{
    struct stat st;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fstat(fileno(file), &st), 0);
    char *data = malloc((size_t)st.st_size + 1);
    assert_int_equal(fread(data, 1, (size_t)st.st_size, file), st.st_size);
    fclose(file);
    bed_judge_lines(found, data, (size_t)st.st_size);
    free(data);
}

#endif
