/* SPDX-License-Identifier: MIT */
/*
 * The rules for notifications: which keys go, which are written anew, and of what.
 *
 * Rules read what came, not what another rule makes of it, but for links, which are made of the event as it
 * goes out. A rule that makes a key overwrites one of that name that came; one that does not apply leaves it:
 * a `timestamp` or a link of the input stays where there is nothing to put in its place.
 */
#include "format/json_rules.h"

#include "cbtap/json_string.h"

const struct cbt_json_hash_row cbt_json_hash_rows[NOTE_HASHES] = {
    {CBT_NOTE_md5, CBT_NOTE_link_md5},
    {CBT_NOTE_parent_md5, CBT_NOTE_link_parent_md5},
    {CBT_NOTE_process_md5, CBT_NOTE_link_process_md5},
};

const enum cbt_note_key cbt_json_ip_rows[NOTE_IPS] = {CBT_NOTE_comms_ip, CBT_NOTE_interface_ip};

const struct cbt_json_side_row cbt_json_side_rows[NOTE_SIDES] = {
    {CBT_NOTE_unique_id,
     CBT_NOTE_process_id,
     CBT_NOTE_process_guid,
     CBT_NOTE_segment_id,
     CBT_NOTE_link_process,
     {(const uint8_t *)"0", 1}},
    {CBT_NOTE_parent_unique_id,
     CBT_NOTE_OTHER,
     CBT_NOTE_parent_guid,
     CBT_NOTE_parent_segment_id,
     CBT_NOTE_link_parent,
     {(const uint8_t *)"1", 1}},
};

static struct cbt_text token_text(const struct cbt_json_fixed *f, unsigned token)
{
    return cbt_json_token_text(&f->note->tokens, token);
}

static bool is_string(const struct cbt_json_fixed *f, enum cbt_note_key key)
{
    return cbt_note_is_string(f->note, f->object->value[key]);
}

/* The digits of an integer number as it is written, without a sign. */
static bool is_integer(const struct cbt_json_fixed *f, unsigned token, struct cbt_text *ret_digits)
{
    if (!cbt_note_is_number(f->note, token))
        return false;
    struct cbt_text text = token_text(f, token);
    size_t sign = text.data[0] == '-';
    for (size_t i = sign; i < text.len; i++)
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
    *ret_digits = (struct cbt_text){text.data + sign, text.len - sign};
    return true;
}

static bool read_ip(const struct cbt_json_fixed *f, unsigned token, uint32_t *ret_ip)
{
    struct cbt_text digits;
    if (!is_integer(f, token, &digits) || digits.len > 10)
        return false;
    bool negative = token_text(f, token).len > digits.len;
    int64_t value = 0;
    for (size_t i = 0; i < digits.len; i++)
        value = value * 10 + (digits.data[i] - '0');
    value = negative ? -value : value;
    if (value < INT32_MIN || value > INT32_MAX)
        return false;
    *ret_ip = (uint32_t)value;
    return true;
}

/* The segment behind a GUID: a hyphen and digits; 1 where it is anything else. */
static uint64_t read_segment(const uint8_t *s, const uint8_t *end)
{
    uint64_t segment = 0;
    if (s == end || cbt_json_char(&s, end) != '-')
        return 1;
    while (s < end) {
        uint32_t c = cbt_json_char(&s, end), lower = c | 0x20;
        if (c >= '0' && c <= '9')
            segment = segment << 4 | (c - '0');
        else if (lower >= 'a' && lower <= 'f')
            segment = segment << 4 | (lower - 'a' + 10);
        else
            return 1;
    }
    return segment;
}

/* A GUID and its segment, from a string of one of their lengths or, where any will do, of any. */
static bool read_guid(struct cbt_json_fixed *f, unsigned side, enum cbt_note_key key, bool any_length)
{
    if (!is_string(f, key))
        return false;
    struct cbt_text source = token_text(f, f->object->value[key]);
    size_t chars = cbt_json_string_size(source).chars;
    bool with_segment = chars == JSON_GUID_BYTES + 9 || chars == JSON_GUID_BYTES + 13;
    if (!with_segment && chars != JSON_GUID_BYTES && !any_length)
        return false;
    const uint8_t *s = source.data, *end = s + source.len;
    for (unsigned i = 0; i < JSON_GUID_BYTES && s < end; i++)
        cbt_json_char(&s, end);
    f->side[side].guid = (struct cbt_text){source.data, (size_t)(s - source.data)};
    f->side[side].segment = with_segment ? read_segment(s, end) : 1;
    f->replaced |= NOTE_BIT(cbt_json_side_rows[side].guid) | NOTE_BIT(cbt_json_side_rows[side].segment);
    return true;
}

/* The md5 that counts, the last one, in an ioc_type that is an object. */
static unsigned find_ioc_md5(const struct cbt_json_fixed *f)
{
    unsigned object = f->object->value[CBT_NOTE_ioc_type], found = 0;
    const struct cbt_json_tokens *tokens = &f->note->tokens;
    if (object == 0 || tokens->token[object].type != JSMN_OBJECT)
        return 0;
    unsigned end = cbt_json_token_end(tokens, object);
    for (unsigned key = object + 1; key < end; key = cbt_json_token_end(tokens, key + 1))
        if (cbt_json_string_is(token_text(f, key), CBT_TEXT("md5")))
            found = key + 1;
    return cbt_note_is_string(f->note, found) ? found : 0;
}

/* Applies every rule but those for links. */
static void read_values(struct cbt_json_fixed *f, bool is_alert)
{
    const unsigned *value = f->object->value;
    f->replaced |= NOTE_BIT(CBT_NOTE_highlights) | NOTE_BIT(CBT_NOTE_event_timestamp);
    f->replaced |= value[CBT_NOTE_event_timestamp] != 0 ? NOTE_BIT(CBT_NOTE_timestamp) : 0;
    f->replaced |= value[CBT_NOTE_hostname] != 0 ? NOTE_BIT(CBT_NOTE_computer_name) : 0;
    for (unsigned i = 0; i < NOTE_HASHES; i++)
        if (is_string(f, cbt_json_hash_rows[i].key) &&
            cbt_json_string_size(token_text(f, value[cbt_json_hash_rows[i].key])).bytes == 32)
            f->replaced |= NOTE_BIT(cbt_json_hash_rows[i].key);
    f->ioc_md5 = find_ioc_md5(f);
    f->replaced |= f->ioc_md5 != 0 ? NOTE_BIT(CBT_NOTE_ioc_type) : 0;
    if (f->object->query != NULL)
        f->replaced |= NOTE_BIT(CBT_NOTE_ioc_query_index) |
                       (f->object->query->has_string ? NOTE_BIT(CBT_NOTE_ioc_query_string) : 0);
    for (unsigned i = 0; i < NOTE_IPS; i++)
        if (read_ip(f, value[cbt_json_ip_rows[i]], &f->ip[i]))
            f->replaced |= NOTE_BIT(cbt_json_ip_rows[i]);
    if (is_alert || !read_guid(f, NOTE_PROCESS, cbt_json_side_rows[NOTE_PROCESS].unique, false))
        read_guid(f, NOTE_PROCESS, cbt_json_side_rows[NOTE_PROCESS].otherwise, true);
    read_guid(f, NOTE_PARENT, cbt_json_side_rows[NOTE_PARENT].unique, false);
}

bool cbt_json_guid_of(const struct cbt_json_fixed *f, unsigned side, struct cbt_text *ret_guid)
{
    unsigned value = f->object->value[cbt_json_side_rows[side].guid];
    *ret_guid = f->side[side].guid;
    if (ret_guid->data != NULL)
        return true;
    *ret_guid = token_text(f, value);
    return cbt_note_is_string(f->note, value) || cbt_note_is_number(f->note, value);
}

static bool hash_has_link(const struct cbt_json_fixed *f, enum cbt_note_key key)
{
    return is_string(f, key) && cbt_json_string_size(token_text(f, f->object->value[key])).chars == 32;
}

/* Which links will be written in place of those that came. */
static void read_links(struct cbt_json_fixed *f)
{
    struct cbt_text text;
    if (is_integer(f, f->object->value[CBT_NOTE_sensor_id], &text))
        f->replaced |= NOTE_BIT(CBT_NOTE_link_sensor);
    for (unsigned i = 0; i < NOTE_HASHES; i++)
        if (hash_has_link(f, cbt_json_hash_rows[i].key))
            f->replaced |= NOTE_BIT(cbt_json_hash_rows[i].link);
    for (unsigned side = 0; side < NOTE_SIDES; side++)
        if (cbt_json_guid_of(f, side, &text))
            f->replaced |= NOTE_BIT(cbt_json_side_rows[side].link);
}

void cbt_json_read_rules(struct cbt_json_fixed *f, bool alert, bool links)
{
    read_values(f, alert);
    if (links)
        read_links(f);
}
