/* SPDX-License-Identifier: MIT */
/* Notifications: what each event made of one becomes in FUZZ_FORMAT. The input is two bytes of options, the
 * routing key up to a line feed, and the JSON text. */
#include "format_check.h"

#define ARENA_SMALL_BYTES 16384u
#define ARENA_LARGE_BYTES (1u << 20)

#define OPTION_LINKS 0x01u
#define OPTION_SMALL 0x02u

static struct {
    const struct cbt_format *format;
    void *self[2]; /* by links */
    struct cbt_decoder *small, *large;
} under_test;

static void open_all(void)
{
    under_test.small = decoder_open(ARENA_SMALL_BYTES);
    under_test.large = decoder_open(ARENA_LARGE_BYTES);
    under_test.format = cbt_format_find(FUZZ_FORMAT);
    FUZZ_CHECK(under_test.format != NULL, "no format %s", FUZZ_FORMAT);
    for (unsigned i = 0; i < 2; i++)
        under_test.self[i] = format_open(under_test.format, i != 0, false, NULL);
}

static void check_event(const struct cbt_event *event, uint8_t options, uint8_t variety, struct cbt_text key)
{
    struct exact_buf exact;
    FUZZ_CHECK(event->type == CBT_TYPE_NOTIFICATION && event->msg == NULL, "type %d", (int)event->type);
    FUZZ_CHECK(event->routing_key.len == key.len, "another routing key");
    int rc = encode_check(under_test.format, under_test.self[options & OPTION_LINKS], event, variety, &exact);
    if (rc == 0)
        format_check(event, (struct cbt_text){exact.buf.begin, cbt_buf_len(&exact.buf)});
    exact_free(&exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (under_test.format == NULL)
        open_all();
    struct cbt_text json = {data, size};
    uint8_t options = fuzz_byte(&json), variety = fuzz_byte(&json);
    struct cbt_text key = fuzz_line(&json, '\n');
    struct cbt_decoder *decoder = (options & OPTION_SMALL) != 0 ? under_test.small : under_test.large;
    enum cbt_dead_reason reason = CBT_DEAD_COUNT;
    struct cbt_event event;
    struct cbt_err err = {0};
    size_t cursor = 0, events = 0;
    int rc;
    while ((rc = cbt_decode_notification(decoder, json, key, &cursor, &event, &reason, &err)) > 0) {
        FUZZ_CHECK(++events <= json.len, "%zu events of %zu bytes", events, json.len);
        check_event(&event, options, variety, key);
    }
    FUZZ_CHECK(rc != 0 || events > 0, "no event and no word");
    FUZZ_CHECK(rc == 0 || err.text[0] != '\0', "no word of why");
    FUZZ_CHECK(rc == 0 || (rc == CBT_ELIMIT ? reason == CBT_DEAD_too_complex
                                            : rc == CBT_EINVAL && reason == CBT_DEAD_not_json),
               "%d with reason %s", rc, cbt_dead_reason_name(reason));
    return 0;
}
