/* SPDX-License-Identifier: MIT */
/*
 * The walk over zip files. What the walk takes for an entry's content is what libzip by itself reads and
 * inflates; what it hands out as a broken entry is, walked by itself, broken in the same way.
 */
#include <zip.h>

#include "walk_check.h"

/* The entry as libzip reads it, malloc'ed; NULL where it cannot, or it is over the limit. */
static uint8_t *read_entry(zip_t *zip, uint32_t index, size_t *ret_len)
{
    zip_file_t *file = zip_fopen_index(zip, index, 0);
    if (file == NULL)
        return NULL;
    const size_t most = walk_limits.zip_inflated_max_bytes;
    uint8_t *data = malloc(most + 1);
    FUZZ_CHECK(data != NULL, "out of memory");
    size_t len = 0;
    zip_int64_t n;
    while ((n = zip_fread(file, data + len, most + 1 - len)) > 0)
        len += (size_t)n;
    (void)zip_fclose(file);
    if (n < 0 || len > most) {
        free(data);
        return NULL;
    }
    *ret_len = len;
    return data;
}

static bool is_directory(zip_t *zip, uint32_t index)
{
    const char *name = zip_get_name(zip, index, ZIP_FL_ENC_RAW);
    return name != NULL && name[0] != '\0' && name[strlen(name) - 1] == '/';
}

static void compare_with_libzip(struct cbt_text body, const struct walked *walked)
{
    zip_source_t *source = zip_source_buffer_create(body.data, body.len, 0, NULL);
    FUZZ_CHECK(source != NULL, "out of memory");
    zip_t *zip = zip_open_from_source(source, ZIP_RDONLY, NULL);
    if (zip == NULL) {
        zip_source_free(source);
        return;
    }
    zip_int64_t count = zip_get_num_entries(zip, 0);
    for (uint32_t i = 0; i < WALK_ENTRIES_MAX && i < count; i++) {
        const struct walked_entry *entry = &walked->entries[i];
        size_t len = 0;
        uint8_t *data = read_entry(zip, i, &len);
        /* What follows what made the walk give up, and what libzip cannot read, is not compared. */
        if (data != NULL && !is_directory(zip, i) && !entry->broken && walked->whole.data.data == NULL)
            FUZZ_CHECK(entry->len == len && (len == 0 || memcmp(entry->data, data, len) == 0),
                       "entry %u: %zu bytes, by libzip %zu", i, entry->len, len);
        FUZZ_CHECK(!entry->bundle || !is_directory(zip, i), "records from the folder that entry %u is", i);
        free(data);
    }
    zip_discard(zip);
}

/* A dead letter is replayed by itself. */
static void check_broken(struct cbt_walk *walk, const struct walked_entry *entry)
{
    struct walked again;
    if (entry->reason == CBT_DEAD_zip_inflated)
        return; /* its neighbours may have used up the limit */
    walk_whole(walk, entry->part, CBT_TEXT(""), CBT_FRAMING_BUNDLE, &again);
    FUZZ_CHECK(again.parts == 1 && again.whole.kind == CBT_PART_BROKEN &&
                   again.whole.data.data == entry->part.data,
               "%zu parts", again.parts);
    FUZZ_CHECK(again.whole.reason == entry->reason, "reason %s, was %s",
               cbt_dead_reason_name(again.whole.reason), cbt_dead_reason_name(entry->reason));
    walked_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct cbt_walk *walk;
    if (walk == NULL)
        walk = walk_open();
    struct cbt_text body = {data, size};
    uint8_t options = fuzz_byte(&body);
    enum cbt_framing framing = options & 1 ? CBT_FRAMING_BUNDLE : CBT_FRAMING_DETECT;
    if (body.len < 4 || memcmp(body.data, "PK", 2) != 0)
        return 0; /* for fuzz_bundle */

    walk_some(walk, body, CBT_TEXT(""), framing, options >> 1 & 7);
    struct walked walked;
    walk_whole(walk, body, CBT_TEXT(""), framing, &walked);
    if (memcmp(body.data + 2, "\3\4", 2) == 0 || memcmp(body.data + 2, "\5\6", 2) == 0) {
        size_t inflated = 0;
        for (size_t i = 0; i <= WALK_ENTRIES_MAX; i++)
            inflated += walked.entries[i].len;
        FUZZ_CHECK(inflated <= walk_limits.zip_inflated_max_bytes, "%zu bytes", inflated);
        compare_with_libzip(body, &walked);
    }
    for (size_t i = 0; i <= WALK_ENTRIES_MAX; i++)
        if (walked.entries[i].part.data != NULL)
            check_broken(walk, &walked.entries[i]);
    walked_free(&walked);
    return 0;
}
