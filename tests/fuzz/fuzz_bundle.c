/* SPDX-License-Identifier: MIT */
/* The walk over bundles, single events and notifications: together its parts are the body, byte for byte. */
#include "walk_check.h"

static const char *const content_types[] = {"", "application/protobuf", "application/json",
                                            "APPLICATION/JSON; q=1"};

/* The lane is chosen by the first record, wherever that can be told. */
static void check_peek(struct cbt_walk *walk, struct cbt_text body, struct cbt_text content_type,
                       enum cbt_framing framing)
{
    struct cbt_part part;
    int32_t by_body = 0, by_record = 0;
    bool found = cbt_peek_sensor_id(body, content_type, framing, &by_body);
    cbt_walk_start(walk, body, content_type, framing);
    if (!cbt_walk_next(walk, &part) || part.kind != CBT_PART_EVENT || !part.in_body)
        return;
    FUZZ_CHECK(cbt_peek_sensor_id(part.data, CBT_TEXT(""), CBT_FRAMING_EVENT, &by_record) == found,
               "found is %d", found);
    FUZZ_CHECK(by_body == by_record, "%d and %d", by_body, by_record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct cbt_walk *walk;
    if (walk == NULL)
        walk = walk_open();
    struct cbt_text body = {data, size};
    uint8_t options = fuzz_byte(&body);
    enum cbt_framing framing = (enum cbt_framing)(options % 3);
    const char *type = content_types[options >> 2 & 3];
    struct cbt_text content_type = {(const uint8_t *)type, strlen(type)};
    if (body.len >= 2 && memcmp(body.data, "PK", 2) == 0 && framing != CBT_FRAMING_EVENT)
        return 0; /* for fuzz_zip */

    walk_some(walk, body, content_type, framing, options >> 4);
    struct walked walked;
    walk_whole(walk, body, content_type, framing, &walked);
    const struct walked_entry *bundle = &walked.entries[0];
    if (bundle->bundle) {
        FUZZ_CHECK(framing != CBT_FRAMING_EVENT, "a bundle where there is none");
        FUZZ_CHECK(bundle->len == body.len && memcmp(bundle->data, body.data, body.len) == 0,
                   "%zu of %zu bytes accounted for", bundle->len, body.len);
    } else {
        FUZZ_CHECK(walked.parts == 1 && walked.whole.data.len == body.len, "%zu parts", walked.parts);
        FUZZ_CHECK(framing != CBT_FRAMING_BUNDLE || body.len == 0, "no bundle where there is one");
        bool too_large = body.len > walk_limits.record_max_bytes;
        FUZZ_CHECK((walked.whole.kind == CBT_PART_BROKEN) == (too_large || body.len == 0), "kind %d",
                   (int)walked.whole.kind);
    }
    check_peek(walk, body, content_type, framing);
    walked_free(&walked);
    return 0;
}
