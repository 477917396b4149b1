/* SPDX-License-Identifier: MIT */
/* What a worker hands over: records whose texts are their frame's, whatever the decoder reads next. */
#include "worker_bed.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(notifications_keep_their_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
