/* SPDX-License-Identifier: MIT */
/* The leef format with too much to write, or too little memory. */
#include "leef_chain.h"
#include "worker_bed.h"

#include <time.h>

/* A notification of `count` keys, in no order; freed by the caller. */
static char *many_keys(unsigned count)
{
    char *json = malloc((size_t)count * 24 + 16);
    assert_non_null(json);
    size_t len = (size_t)sprintf(json, "{\"k\":{\"x\":0");
    for (unsigned i = 0; i < count; i++)
        len += (size_t)sprintf(json + len, ",\"same prefix %u\":1", i * 2654435761u % 1000003);
    sprintf(json + len, "}}");
    return json;
}

/* Of this thread alone: what takes longer than a slice of a busy processor would wait for others, too. */
static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t time_of_keys(unsigned count)
{
    char *json = many_keys(count);
    int64_t best = INT64_MAX;
    for (unsigned i = 0; i < 5; i++) {
        const struct cbt_event event = decode_notification(text_of(json), "a.b");
        struct exact_buf out;
        int64_t start = cpu_ns();
        encode("leef", &event, 1u << 24, &out);
        int64_t took = cpu_ns() - start;
        best = took < best ? took : best;
        exact_free(&out);
    }
    free(json);
    return best;
}

static void a_hundred_thousand_keys_are_not_sorted_by_their_square(void **state)
{
    (void)state;
    int64_t few = time_of_keys(10000), many = time_of_keys(100000);
    print_message("10,000 keys: %lld us, 100,000 keys: %lld us\n", (long long)few / 1000,
                  (long long)many / 1000);
    assert_true(many < 40 * few); /* by their square it would be 100 */
}

static void nesting_as_deep_as_is_allowed_is_written(void **state)
{
    (void)state;
    static char json[1024], expected[1024];
    size_t len = (size_t)sprintf(json, "{\"k\":"), n = (size_t)sprintf(expected, "k=");
    for (unsigned i = 0; i < 98; i++) {
        len += (size_t)sprintf(json + len, "%s", i % 2 ? "{\"a\":" : "[1,");
        n += (size_t)sprintf(expected + n, "%s", i % 2 ? "{\"a\":" : "[1,");
    }
    len += (size_t)sprintf(json + len, "7");
    n += (size_t)sprintf(expected + n, "7");
    for (unsigned i = 98; i-- > 0;) {
        len += (size_t)sprintf(json + len, "%s", i % 2 ? "}" : "]");
        n += (size_t)sprintf(expected + n, "%s", i % 2 ? "}" : "]");
    }
    sprintf(json + len, "}");
    expect_rows(&(struct row){json, expected}, 1);
}

static void an_event_too_large_for_the_arena_is_a_dead_letter_of_its_own(void **state)
{
    (void)state;
    struct worker_bed *bed = worker_bed_new();
    char *json = many_keys(5000);
    bed->limits.arena_max_bytes = 512u << 10;
    worker_bed_start(bed, "leef", &(struct cbt_format_options){.server_name = "s"});
    worker_bed_push(bed, text_of("{\"k\":1}"), "application/json", "a.b", NULL);
    worker_bed_push(bed, text_of(json), "application/json", "a.b", NULL);
    worker_bed_push(bed, text_of("{\"k\":2}"), "application/json", "a.b", NULL);
    worker_bed_await(bed, 3);
    assert_null(bed->records[0]->dead);
    assert_null(bed->records[2]->dead);
    assert_non_null(bed->records[1]->dead);
    assert_int_equal(bed->records[1]->dead->reason, CBT_DEAD_too_complex);
    assert_non_null(strstr(bed->records[1]->dead->detail, "decode.arena_max_bytes (524288)"));
    assert_int_equal(bed->records[1]->value_len, strlen(json));
    worker_bed_free(bed);
    free(json);
}

static bool refuse(struct cbt_buf *buf, size_t bytes)
{
    (void)buf;
    (void)bytes;
    return false;
}

/* Every size of record and of arena: written whole, or refused with its reason, and nothing beyond the end.
 */
static void whatever_is_too_small_is_an_error(void **state)
{
    (void)state;
    static const char json[] =
        "{\"k\":{\"b\":[1,{\"d\":2,\"c\":3}],\"a\":\"\\u00e9=\"},\"docs\":[{\"l\\n\":1}],"
        "\"ioc_attr\":\"{\\\"local_ip\\\":{\\\"y\\\":1,\\\"x\\\":2}}\"}";
    struct cbt_event event = decode_notification(text_of(json), "a.b");
    struct cbt_arena arena;
    struct exact_buf whole;
    unsigned refused = 0, written = 0;
    encode("leef", &event, 0, &whole);
    size_t len = cbt_buf_len(&whole.buf);
    for (size_t size = 0; size < len; size++) {
        uint8_t *memory = malloc(size + !size);
        struct cbt_err err = {0};
        struct cbt_buf buf = {.begin = memory, .pos = memory, .end = memory + size, .grow = refuse};
        assert_int_equal(cbt_format_find("leef")->encode(chain.leef, &event, &buf, &err), CBT_ELIMIT);
        assert_true(buf.failed && !event.arena->exhausted);
        free(memory);
    }
    for (size_t size = 0; size < 80000; size += 8) {
        struct cbt_err err = {0};
        struct exact_buf out;
        assert_int_equal(cbt_arena_init(&arena, size + !size, &err), 0);
        exact_init(&out, 0, SIZE_MAX);
        event.arena = &arena;
        int rc = cbt_format_find("leef")->encode(chain.leef, &event, &out.buf, &err);
        assert_int_equal(rc, arena.exhausted ? CBT_ELIMIT : 0);
        if (rc == 0) {
            assert_int_equal(cbt_buf_len(&out.buf), len);
            assert_memory_equal(out.buf.begin, whole.buf.begin, len);
            written++;
        } else {
            assert_non_null(strstr(err.text, "decode.arena_max_bytes"));
            refused++;
        }
        assert_int_equal(arena.used, 0);
        exact_free(&out);
        cbt_arena_free(&arena);
    }
    assert_true(refused > 100 && written > 100);
    exact_free(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hundred_thousand_keys_are_not_sorted_by_their_square),
        cmocka_unit_test(nesting_as_deep_as_is_allowed_is_written),
        cmocka_unit_test(an_event_too_large_for_the_arena_is_a_dead_letter_of_its_own),
        cmocka_unit_test(whatever_is_too_small_is_an_error),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
