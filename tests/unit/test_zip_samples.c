/* SPDX-License-Identifier: MIT */
/* Zips as Python, Info-ZIP and Java write them: tests/samples/zip/README.md. */
#include "walk_expect.h"

static void zips_of_other_programs_give_their_records(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint32_t second; /* index of the entry with 20 records; 0: there is none */
    } samples[] = {
        {"python-stored", 0},
        {"python-stream", 0},
        {"python-stream-zip64", 0},
        {"python-many-stream-zip64", 1},
        {"python-many-comments", 1},
        {"infozip-pipe", 0},
        {"infozip-many", 2},
        {"java", 0},
        {"java-many", 2},
    };
    struct cbt_walk *walk = walk_new(fixture_limits);
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        char path[512];
        struct file file = {0};
        snprintf(path, sizeof(path), "%s/tests/samples/zip/%s.zip", SOURCE_DIR, samples[i].name);
        if (!file_read(path, &file))
            fail_msg("cannot read %s", path);
        cbt_walk_start(walk, file_text(&file), text_of("application/zip"), CBT_FRAMING_BUNDLE);
        expect_records(walk, 3, 1, 0);
        if (samples[i].second != 0)
            expect_records(walk, 20, 2, samples[i].second);
        expect_end(walk);
        free(file.data);
    }
    cbt_walk_free(walk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zips_of_other_programs_give_their_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
