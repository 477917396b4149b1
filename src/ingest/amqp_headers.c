/* SPDX-License-Identifier: MIT */
/*
 * The headers that name a message's endpoint. An integer comes in any width, signed or not, or as decimal
 * text; a value that cannot be read is left out and counted, for the events must not be lost with it.
 */
#include <string.h>

#include "ingest/source_amqp.h"

bool cbt_amqp_parse_integer(struct cbt_text text, int64_t *ret_value)
{
    size_t i = 0;
    bool negative = false;
    if (text.len > 0 && (text.data[0] == '-' || text.data[0] == '+'))
        negative = text.data[i++] == '-';
    if (i == text.len)
        return false;
    int64_t value = 0; /* negated, for INT64_MIN has no positive counterpart */
    for (; i < text.len; i++) {
        uint8_t digit = (uint8_t)(text.data[i] - '0');
        if (digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, digit, &value))
            return false;
    }
    if (!negative && __builtin_sub_overflow(0, value, &value))
        return false;
    *ret_value = value;
    return true;
}

/* Timestamps, floating point and decimals are no ids, whatever their digits. */
static bool read_integer(const amqp_field_value_t *field, int64_t min, int64_t max, int64_t *ret_value)
{
    int64_t value;
    switch (field->kind) {
    case AMQP_FIELD_KIND_I8:
        value = 0 + field->value.i8;
        break;
    case AMQP_FIELD_KIND_U8:
        value = field->value.u8;
        break;
    case AMQP_FIELD_KIND_I16:
        value = field->value.i16;
        break;
    case AMQP_FIELD_KIND_U16:
        value = field->value.u16;
        break;
    case AMQP_FIELD_KIND_I32:
        value = field->value.i32;
        break;
    case AMQP_FIELD_KIND_U32:
        value = field->value.u32;
        break;
    case AMQP_FIELD_KIND_I64:
        value = field->value.i64;
        break;
    case AMQP_FIELD_KIND_U64:
        if (field->value.u64 > INT64_MAX)
            return false;
        value = (int64_t)field->value.u64;
        break;
    case AMQP_FIELD_KIND_UTF8:
    case AMQP_FIELD_KIND_BYTES:
        if (!cbt_amqp_parse_integer(cbt_amqp_text(field->value.bytes), &value))
            return false;
        break;
    default:
        return false;
    }
    if (value < min || value > max)
        return false;
    *ret_value = value;
    return true;
}

static bool read_int32(const amqp_field_value_t *field, int32_t *ret_value)
{
    int64_t value;
    if (!read_integer(field, INT32_MIN, INT32_MAX, &value))
        return false;
    *ret_value = (int32_t)value;
    return true;
}

static bool read_int64(const amqp_field_value_t *field, int64_t *ret_value)
{
    return read_integer(field, INT64_MIN, INT64_MAX, ret_value);
}

static bool read_text(const amqp_field_value_t *field, struct cbt_text *ret_text)
{
    if (field->kind != AMQP_FIELD_KIND_UTF8 && field->kind != AMQP_FIELD_KIND_BYTES)
        return false;
    if (field->value.bytes.len > CBT_AMQP_HOST_NAME_BYTES_MAX)
        return false;
    *ret_text = cbt_amqp_text(field->value.bytes);
    return true;
}

/* Of two headers with one name the last counts. */
bool cbt_amqp_read_header(const amqp_table_entry_t *header, struct cbt_environment *env)
{
    if (header->value.kind == AMQP_FIELD_KIND_VOID)
        return true;
#define X(name, field, kind)                                                                                 \
    if (CBT_AMQP_IS(header->key, #name)) {                                                                   \
        if (!read_##kind(&header->value, &env->field))                                                       \
            return false;                                                                                    \
        env->has_##field = true;                                                                             \
        return true;                                                                                         \
    }
    CBT_AMQP_HEADERS(X)
#undef X
    return true;
}

unsigned cbt_amqp_read_headers(const amqp_table_t *headers, struct cbt_environment *ret_env)
{
    unsigned unreadable = 0;
    *ret_env = (struct cbt_environment){0};
    for (int i = 0; i < headers->num_entries; i++)
        if (!cbt_amqp_read_header(&headers->entries[i], ret_env))
            unreadable++;
    return unreadable;
}
