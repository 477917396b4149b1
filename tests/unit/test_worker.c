/* SPDX-License-Identifier: MIT */
/* What a worker hands over: records whose texts are their frame's, whatever the decoder reads next. */
#include "worker_bed.h"

#include "zip_build.h"

static void assert_text(struct cbt_text text, const char *expected)
{
    assert_int_equal(text.len, strlen(expected));
    assert_memory_equal(text.data, expected, text.len);
}

/* The type without the feed's id is made in the decoder's arena, where the next event is decoded, too. */
static void notifications_keep_their_types(void **state)
{
    (void)state;
    static const char *const names[] = {"feed.one", "feed.second", "watchlist.3", ""};
    static const char *const keys[] = {"feed.1.one", "feed.22.second", "watchlist.3", ""};
    struct worker_bed *bed = worker_bed_new();
    worker_bed_start(bed, "json", &(struct cbt_format_options){.server_name = "s"});
    for (unsigned i = 0; i < 4; i++)
        worker_bed_push(bed, text_of("{\"a\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}"), "application/json",
                        keys[i], NULL);
    worker_bed_await(bed, 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_null(bed->records[i]->dead);
        assert_text(bed->records[i]->type_name, names[i]);
        assert_text(bed->records[i]->event_type_name, names[i]);
        assert_int_equal(bed->records[i]->value[bed->records[i]->value_len - 1], '}');
    }
    worker_bed_free(bed);
}

/* The filter acts before validity is judged (spec interface.md). */
static void a_broken_notification_of_a_dropped_type_is_filtered(void **state)
{
    (void)state;
    struct worker_bed *bed = worker_bed_new();
    cbt_filter_free(bed->filter);
    assert_int_equal(cbt_filter_new(&bed->filter, "*", "feed.*", NULL), 0);
    worker_bed_start(bed, "json", &(struct cbt_format_options){.server_name = "s"});
    worker_bed_push(bed, text_of("{\"a\":"), "application/json", "feed.7.hit", NULL);
    worker_bed_push(bed, text_of("{\"docs\":[{},{}]}"), "application/json", "feed.7.hit", NULL);
    worker_bed_push(bed, text_of("{\"a\":"), "application/json", "watchlist.7.hit", NULL);
    worker_bed_await(bed, 1);
    assert_non_null(bed->records[0]->dead);
    assert_int_equal(bed->records[0]->dead->reason, CBT_DEAD_not_json);
    assert_int_equal(atomic_load(&bed->stats->filtered[CBT_FILTERED_type]), 2);
    assert_int_equal(atomic_load(&bed->stats->events[CBT_TYPE_NOTIFICATION]), 3);
    worker_bed_free(bed);
}

static void what_is_not_selected_is_filtered(void **state)
{
    (void)state;
    static const struct cbt_selection selection = {.host = "dc-*"};
    struct pb record = {0};
    pb_header(&record, 1);
    struct cbt_frame event = {.body = pb_text(&record),
                              .framing = CBT_FRAMING_EVENT,
                              .env = {.host_name = text_of("web-7"), .has_host_name = true}};
    struct worker_bed *bed = worker_bed_new();
    bed->selection = &selection;
    worker_bed_start(bed, "json", &(struct cbt_format_options){.server_name = "s"});
    worker_bed_push_frame(bed, &event);
    worker_bed_push(bed, text_of("{\"docs\":[{\"hostname\":\"web-7\"},{\"hostname\":\"web-8\"}]}"),
                    "application/json", "feed.7.hit", NULL);
    event.env.host_name = text_of("DC-7");
    worker_bed_push_frame(bed, &event);
    worker_bed_await(bed, 1);
    assert_null(bed->records[0]->dead);
    assert_text(bed->records[0]->type_name, "ingress.event.unknown");
    assert_int_equal(atomic_load(&bed->stats->filtered[CBT_FILTERED_selection]), 3);
    assert_int_equal(atomic_load(&bed->stats->filtered_types[CBT_TYPE_unknown]), 1);
    assert_int_equal(atomic_load(&bed->stats->filtered_types[CBT_TYPE_NOTIFICATION]), 2);
    assert_int_equal(atomic_load(&bed->stats->events[CBT_TYPE_unknown]), 2);
    worker_bed_free(bed);
    pb_free(&record);
}

/* More records than a batch holds, so that some are handed over while the entry is still at hand; what makes
 * it large is left out, so that records are a small part of what is charged. */
static void a_large_zip_entry_is_charged_while_it_is_at_hand(void **state)
{
    enum { SMALL = CBT_BATCH_RECORDS_MAX + 10, LARGE_BYTES = 10 << 20 };
    (void)state;
    uint8_t *noise = malloc(LARGE_BYTES);
    assert_non_null(noise);
    uint32_t x = 1;
    for (size_t i = 0; i < LARGE_BYTES; i++)
        noise[i] = (uint8_t)((x = x * 1664525u + 1013904223u) >> 24);
    struct pb small = {0}, large = {0}, bundle = {0};
    pb_header(&small, 1);
    pb_header(&large, 1);
    pb_bytes(&large, 8, noise, LARGE_BYTES); /* stats */
    for (unsigned i = 0; i < SMALL; i++)
        pb_record(&bundle, pb_text(&small));
    pb_record(&bundle, pb_text(&large));
    struct zb_entry entry = {.name = "a", .content = pb_text(&bundle), .method = 8};
    struct pb zip = zb_build((struct zb){0}, &entry, 1);

    struct worker_bed *bed = worker_bed_new();
    worker_bed_start(bed, "json", &(struct cbt_format_options){.server_name = "s"});
    worker_bed_push(bed, pb_text(&zip), "application/zip", "", NULL);
    worker_bed_await(bed, SMALL);
    assert_int_equal(atomic_load(&bed->stats->filtered[CBT_FILTERED_deprecated]), 1);
    assert_in_range(bed->first_used_bytes, bundle.len, bundle.len + (4u << 20));
    worker_bed_free(bed); /* asserts that nothing is charged any more */
    free(noise);
    pb_free(&small);
    pb_free(&large);
    pb_free(&bundle);
    pb_free(&zip);
}

/* What a source cuts from a file is a dead letter with its place in the file, not in the cut. */
static void a_dead_letter_of_a_cut_names_its_place_in_the_file(void **state)
{
    (void)state;
    struct pb empty = {0}, bundle = {0};
    pb_record(&bundle, pb_text(&empty));
    struct cbt_frame cut = {.body = pb_text(&bundle),
                            .framing = CBT_FRAMING_BUNDLE,
                            .file = text_of("/archive/7/a.log"),
                            .file_offset = 5000000000,
                            .file_index = 12};
    struct cbt_frame whole = {.body = text_of("no gzip"),
                              .broken = true,
                              .broken_reason = CBT_DEAD_gzip_malformed,
                              .broken_detail = "cut off",
                              .file = text_of("/archive/7/b.gz")};
    struct worker_bed *bed = worker_bed_new();
    worker_bed_start(bed, "json", &(struct cbt_format_options){.server_name = "s"});
    worker_bed_push_frame(bed, &cut);
    worker_bed_push_frame(bed, &whole);
    worker_bed_await(bed, 2);
    assert_non_null(bed->records[0]->dead);
    assert_int_equal(bed->records[0]->dead->index, 12);
    assert_true(bed->records[0]->dead->offset == 5000000000);
    assert_int_equal(bed->records[1]->dead->reason, CBT_DEAD_gzip_malformed);
    assert_string_equal(bed->records[1]->dead->detail, "cut off");
    assert_int_equal(bed->records[1]->value_len, 7);
    assert_int_equal(atomic_load(&bed->stats->dead[CBT_DEAD_gzip_malformed]), 1);
    worker_bed_free(bed);
    pb_free(&bundle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(notifications_keep_their_types),
        cmocka_unit_test(a_large_zip_entry_is_charged_while_it_is_at_hand),
        cmocka_unit_test(a_broken_notification_of_a_dropped_type_is_filtered),
        cmocka_unit_test(what_is_not_selected_is_filtered),
        cmocka_unit_test(a_dead_letter_of_a_cut_names_its_place_in_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
