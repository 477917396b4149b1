/* SPDX-License-Identifier: MIT */
/* Notifications through a worker to a sink of the test's own: what their records are called, what they hold
 * of memory, and what becomes a dead letter of one with docs. */
#include "fixture.h"

#include <pthread.h>
#include <time.h>

#include "decode/worker.h"

#define FRAMES      4
#define RECORDS_MAX 4096
#define VALUE_MAX   4096

/* --- a sink that keeps copies, made at the hand-over, when the arena has seen other notifications --- */

struct kept {
    char type[64], event_type[64];
    char *value;
    bool dead;
    enum cbt_dead_reason reason;
};

struct fake_sink {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct kept kept[RECORDS_MAX];
    unsigned count;
    struct cbt_settler *settler;
};

static struct fake_sink sink = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void copy_name(char to[64], struct cbt_text text)
{
    snprintf(to, 64, "%.*s", (int)text.len, text.len > 0 ? (const char *)text.data : "");
}

static void fake_submit(void *self, unsigned worker, struct cbt_record *const recs[], size_t n)
{
    struct fake_sink *s = self;
    (void)worker;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < n && s->count < RECORDS_MAX; i++) {
        struct kept *kept = &s->kept[s->count++];
        copy_name(kept->type, recs[i]->type_name);
        copy_name(kept->event_type, recs[i]->event_type_name);
        kept->value = malloc(recs[i]->value_len + 1);
        if (kept->value == NULL)
            abort();
        memcpy(kept->value, recs[i]->value, recs[i]->value_len);
        kept->value[recs[i]->value_len] = '\0';
        kept->dead = recs[i]->dead != NULL;
        kept->reason = kept->dead ? recs[i]->dead->reason : CBT_DEAD_COUNT;
    }
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; i < n; i++)
        cbt_settle(s->settler, recs[i]->frame, 1);
}

static const struct cbt_sink fake_sink = {.type = "fake", .submit = fake_submit};

/* --- one worker, and frames that it finds in its lane when it starts --- */

struct flow {
    struct cbt_metrics *metrics;
    struct cbt_stats *stats;
    struct cbt_budget budget;
    struct cbt_filter *filter;
    struct cbt_outlet outlet;
    struct cbt_alarm alarm;
    struct cbt_alarm *alarms[1];
    struct cbt_ring lane, rings[2];
    bool touched[2];
    struct cbt_settler settlers[2];
    struct cbt_worker *worker;
    struct cbt_frame frames[FRAMES];
    unsigned frame_count;
};

static void flow_init(struct flow *f)
{
    *f = (struct flow){0};
    cbt_budget_init(&f->budget, 256u << 20, false);
    assert_int_equal(cbt_metrics_new(&f->metrics), 0);
    f->stats = cbt_metrics_add(f->metrics, CBT_STATS_WORKER, "worker", "");
    assert_int_equal(cbt_filter_new(&f->filter, "*", "", NULL), 0);
    assert_int_equal(cbt_alarm_init(&f->alarm, NULL), 0);
    f->alarms[0] = &f->alarm;
    assert_int_equal(cbt_ring_init(&f->lane, FRAMES, NULL), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(cbt_ring_init(&f->rings[i], FRAMES, NULL), 0);
        f->settlers[i] = (struct cbt_settler){.index = i,
                                              .receivers = 1,
                                              .rings = &f->rings[i],
                                              .alarms = f->alarms,
                                              .touched = &f->touched[i]};
    }
    sink.settler = &f->settlers[1];
    sink.count = 0;
    f->outlet =
        (struct cbt_outlet){.sink = &fake_sink,
                            .sink_self = &sink,
                            .format = cbt_format_find("json"),
                            .format_self = json_open(&(struct cbt_format_options){.server_name = "s"}),
                            .key = CBT_KEY_SENSOR_ID,
                            .takes_dead_letters = true};
    struct cbt_worker_context context = {.stats = f->stats,
                                         .budget = &f->budget,
                                         .block_bytes = 262144,
                                         .blocks_cached_max = 4,
                                         .limits = fixture_limits,
                                         .value_max_bytes = VALUE_MAX,
                                         .settler = &f->settlers[0],
                                         .outlets = &f->outlet,
                                         .outlet_count = 1,
                                         .receivers = 1,
                                         .filter = f->filter};
    assert_int_equal(cbt_worker_new(&f->worker, &context, NULL), 0);
    cbt_worker_set_lane(f->worker, 0, &f->lane);
}

static void flow_add(struct flow *f, const char *key, const char *body)
{
    assert_true(f->frame_count < FRAMES);
    struct cbt_frame *frame = &f->frames[f->frame_count++];
    frame->body = text_of(body);
    frame->routing_key = text_of(key);
    frame->content_type = CBT_TEXT("application/json");
    atomic_init(&frame->pending, 1);
    assert_true(cbt_ring_push(&f->lane, frame));
}

/* Runs the worker until `records` have come. */
static void flow_run(struct flow *f, unsigned records)
{
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 60;
    assert_int_equal(cbt_worker_start(f->worker, NULL), 0);
    pthread_mutex_lock(&sink.lock);
    while (sink.count < records)
        assert_int_equal(pthread_cond_timedwait(&sink.changed, &sink.lock, &deadline), 0);
    pthread_mutex_unlock(&sink.lock);
    cbt_worker_stop(f->worker);
    assert_int_equal(sink.count, records);
}

/* Every frame is settled, and its memory comes back as a receiver gives it. */
static void flow_end(struct flow *f)
{
    for (unsigned i = 0; i < f->frame_count; i++) {
        struct cbt_frame *frame = &f->frames[i];
        assert_int_equal(atomic_load(&frame->pending), 0);
        struct cbt_block *block = frame->first_block;
        for (uint32_t left = frame->record_blocks; left > 0; left--) {
            struct cbt_block *next = left > 1 ? block->next : NULL;
            cbt_block_unref(block);
            block = next;
        }
        cbt_budget_give(&f->budget, CBT_ACCOUNT_WORKER, (size_t)frame->records * CBT_RECORD_OVERHEAD_BYTES);
    }
    cbt_worker_free(f->worker);
    assert_int_equal(cbt_budget_used(&f->budget), 0);
    json_close(f->outlet.format_self);
    cbt_filter_free(f->filter);
    cbt_metrics_free(f->metrics);
    cbt_alarm_free(&f->alarm);
    cbt_ring_free(&f->lane);
    for (unsigned i = 0; i < 2; i++)
        cbt_ring_free(&f->rings[i]);
    for (unsigned i = 0; i < sink.count; i++)
        free(sink.kept[i].value);
}

static void records_keep_their_types_when_the_arena_goes_on(void **state)
{
    (void)state;
    struct flow f;
    flow_init(&f);
    flow_add(&f, "feed.24.ingress.hit.process", "{\"docs\":[1,2]}");
    flow_add(&f, "feed.1.storage.hit.binary", "{\"a\":1}");
    flow_add(&f, "watchlist.12.hit", "{\"a\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}");
    flow_run(&f, 4);
    static const char *const types[] = {"feed.ingress.hit.process", "feed.ingress.hit.process",
                                        "feed.storage.hit.binary", "watchlist.12.hit"};
    for (unsigned i = 0; i < 4; i++) {
        assert_string_equal(sink.kept[i].type, types[i]);
        assert_string_equal(sink.kept[i].event_type, types[i]);
    }
    flow_end(&f);
}

static void an_entry_that_cannot_be_written_is_a_dead_letter_of_its_own(void **state)
{
    (void)state;
    struct flow f;
    static char body[3 * VALUE_MAX], expected[3 * VALUE_MAX];
    flow_init(&f);
    snprintf(body, sizeof(body), "{\"docs\":[1, \"%*d\" ,3],\"a\":2}", VALUE_MAX, 7);
    snprintf(expected, sizeof(expected), "{\"docs\":[\"%*d\"],\"a\":2}", VALUE_MAX, 7);
    flow_add(&f, "a.b", body);
    flow_run(&f, 3);
    assert_string_equal(sink.kept[0].value, "{\"type\":\"a.b\",\"cb_server\":\"s\",\"a\":2,\"docs\":[1]}");
    assert_true(sink.kept[1].dead);
    assert_int_equal(sink.kept[1].reason, CBT_DEAD_record_too_large);
    assert_string_equal(sink.kept[1].value, expected);
    assert_string_equal(sink.kept[2].value, "{\"type\":\"a.b\",\"cb_server\":\"s\",\"a\":2,\"docs\":[3]}");
    assert_int_equal(atomic_load(&f.stats->events[CBT_TYPE_NOTIFICATION]), 3);
    assert_int_equal(atomic_load(&f.stats->dead[CBT_DEAD_record_too_large]), 1);
    flow_end(&f);
    /* One that becomes no other event is the dead letter as it came. */
    flow_init(&f);
    snprintf(body, sizeof(body), "{\"docs\":[ \"%*d\" ],\"a\":2}", VALUE_MAX, 7);
    flow_add(&f, "a.b", body);
    flow_run(&f, 1);
    assert_true(sink.kept[0].dead);
    assert_string_equal(sink.kept[0].value, body);
    flow_end(&f);
}

/* Each event once took room for all of the text: a block for each of these. */
static void many_entries_hold_the_memory_of_what_they_become(void **state)
{
    (void)state;
    struct flow f;
    enum { ENTRIES = 2000 };
    char *body = malloc(ENTRIES * 100);
    assert_non_null(body);
    size_t len = (size_t)sprintf(body, "{\"docs\":[");
    for (unsigned i = 0; i < ENTRIES; i++)
        len += (size_t)sprintf(body + len, "%s{\"a\":\"%080u\"}", i > 0 ? "," : "", i);
    sprintf(body + len, "]}");
    flow_init(&f);
    flow_add(&f, "a.b", body);
    flow_run(&f, ENTRIES);
    uint32_t blocks = f.frames[0].record_blocks;
    if (blocks > 1 + ENTRIES * 512 / 262144)
        fail_msg("%u blocks", blocks);
    flow_end(&f);
    free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_keep_their_types_when_the_arena_goes_on),
        cmocka_unit_test(an_entry_that_cannot_be_written_is_a_dead_letter_of_its_own),
        cmocka_unit_test(many_entries_hold_the_memory_of_what_they_become),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
