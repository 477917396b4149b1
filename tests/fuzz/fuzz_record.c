/* SPDX-License-Identifier: MIT */
/*
 * One record, decoded and encoded in FUZZ_FORMAT; and what is told of it without decoding, which must be the
 * same. The input is three bytes of options, then the record.
 */
#include <inttypes.h>

#include "format_check.h"

#define ARENA_SMALL_BYTES 8192u
#define ARENA_LARGE_BYTES (1u << 20)

#define OPTION_LINKS      0x01u
#define OPTION_FLOAT_TIME 0x02u
#define OPTION_PROFILE    0x10u
#define OPTION_SMALL      0x04u
#define OPTION_FRAME_ENV  0x08u

static struct {
    const struct cbt_format *format;
    void *self[8]; /* by links, float time and profile */
    struct cbt_decoder *small, *large;
} under_test;

static void open_all(void)
{
    under_test.small = decoder_open(ARENA_SMALL_BYTES);
    under_test.large = decoder_open(ARENA_LARGE_BYTES);
    under_test.format = cbt_format_find(FUZZ_FORMAT);
    FUZZ_CHECK(under_test.format != NULL, "no format %s", FUZZ_FORMAT);
    for (unsigned i = 0; i < 8; i++)
        under_test.self[i] =
            format_open(under_test.format, (i & 1) != 0, (i & 2) != 0, (i & 4) != 0 ? "cbef-3.8" : NULL);
}

/* Both peeks are told of the record alone, so is the event. */
static void check_peeks(struct cbt_decoder *decoder, struct cbt_text record)
{
    struct cbt_event event;
    enum cbt_dead_reason reason;
    struct cbt_err err = {0};
    int32_t sensor_id = 0;
    if (cbt_decode_event(decoder, record, NULL, &event, &reason, &err) != 0)
        return;
    enum cbt_event_type type = cbt_peek_type(record);
    FUZZ_CHECK(type == event.type, "peeked %s, decoded %s", cbt_event_type_name(type),
               cbt_event_type_name(event.type));
    bool found = cbt_peek_sensor_id(record, CBT_TEXT(""), CBT_FRAMING_EVENT, &sensor_id);
    FUZZ_CHECK(found == event.env.has_sensor_id, "peeked %d, decoded %d", found, event.env.has_sensor_id);
    FUZZ_CHECK(!found || sensor_id == event.env.sensor_id, "peeked %" PRId32 ", decoded %" PRId32, sensor_id,
               event.env.sensor_id);
}

static void check_refusal(int rc, enum cbt_dead_reason reason, const struct cbt_err *err)
{
    FUZZ_CHECK(err->text[0] != '\0', "no word of why");
    FUZZ_CHECK(rc == CBT_ELIMIT
                   ? reason == CBT_DEAD_too_complex
                   : rc == CBT_EINVAL && (reason == CBT_DEAD_malformed || reason == CBT_DEAD_no_header),
               "%d with reason %s", rc, cbt_dead_reason_name(reason));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (under_test.format == NULL)
        open_all();
    struct cbt_text record = {data, size};
    uint8_t options = fuzz_byte(&record), variety = fuzz_byte(&record), sensor = fuzz_byte(&record);
    struct cbt_decoder *decoder = (options & OPTION_SMALL) != 0 ? under_test.small : under_test.large;
    const void *self =
        under_test.self[(options & (OPTION_LINKS | OPTION_FLOAT_TIME)) | (options & OPTION_PROFILE) >> 2];
    const struct cbt_environment env = {.sensor_id = sensor,
                                        .host_name = CBT_TEXT("\"host\"\xc3"),
                                        .has_sensor_id = true,
                                        .has_host_name = sensor % 2 != 0};
    const struct cbt_environment *frame_env = (options & OPTION_FRAME_ENV) != 0 ? &env : NULL;
    struct cbt_event event;
    enum cbt_dead_reason reason = CBT_DEAD_COUNT;
    struct cbt_err err = {0};

    check_peeks(decoder, record);
    int rc = cbt_decode_event(decoder, record, frame_env, &event, &reason, &err);
    if (rc != 0) {
        check_refusal(rc, reason, &err);
        return 0;
    }
    if (event.type == CBT_TYPE_stats)
        return 0; /* never encoded */
    struct exact_buf exact, again;
    rc = encode_check(under_test.format, self, &event, variety, &exact);
    if (rc == 0)
        format_check(&event, (struct cbt_text){exact.buf.begin, cbt_buf_len(&exact.buf)});
    FUZZ_CHECK(cbt_decode_event(decoder, record, frame_env, &event, &reason, &err) == 0, "%s", err.text);
    record_init(&again, 0, 0, SIZE_MAX / 4);
    FUZZ_CHECK(encode_once(under_test.format, self, &event, &again, &err) == rc, "not %d again", rc);
    FUZZ_CHECK(rc != 0 || (cbt_buf_len(&again.buf) == cbt_buf_len(&exact.buf) &&
                           memcmp(again.buf.begin, exact.buf.begin, cbt_buf_len(&exact.buf)) == 0),
               "other bytes after decoding again");
    exact_free(&exact);
    exact_free(&again);
    return 0;
}
