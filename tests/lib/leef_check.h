/* SPDX-License-Identifier: MIT */
/*
 * Whether a text is one LEEF 1.0 event as the specification of the output has it: one line of valid UTF-8, a
 * header of five fields, pairs between tabs, sorted by key, no key twice, every backslash with what it
 * escapes behind it. Shares nothing with the code under test.
 */
#ifndef TESTS_LIB_LEEF_CHECK_H
#define TESTS_LIB_LEEF_CHECK_H

#include "cbtap/text.h"
#include "json_check.h"

/* Takes text up to the first `end` that no backslash escapes, which *rest loses, too. False: there is none,
 * and *ret_text is all of it; or an escape is none of `escaped`, and ret_text->data is NULL. */
static inline bool leef_take(struct cbt_text *rest, char end, const char *escaped, struct cbt_text *ret_text)
{
    *ret_text = (struct cbt_text){rest->data, 0};
    while (rest->len > 0) {
        uint8_t byte = *rest->data++;
        rest->len--;
        if (byte == (uint8_t)end)
            return true;
        ret_text->len++;
        if (byte != '\\')
            continue;
        if (rest->len == 0 || *rest->data == '\0' || strchr(escaped, *rest->data) == NULL) {
            *ret_text = (struct cbt_text){0};
            return false;
        }
        rest->data++;
        rest->len--;
        ret_text->len++;
    }
    return false;
}

/* The next byte of text that stands escaped, which *text loses; -1 at its end. */
static inline int leef_byte(struct cbt_text *text)
{
    if (text->len == 0)
        return -1;
    size_t taken = text->data[0] == '\\' ? 2 : 1;
    uint8_t byte = text->data[taken - 1];
    text->data += taken;
    text->len -= taken;
    if (taken == 1)
        return byte;
    return byte == 'n' ? '\n' : byte == 'r' ? '\r' : byte == 't' ? '\t' : byte;
}

static inline bool leef_precedes(struct cbt_text a, struct cbt_text b)
{
    int x, y;
    do {
        x = leef_byte(&a);
        y = leef_byte(&b);
    } while (x == y && x >= 0);
    return x < y;
}

static inline const char *leef_pairs_fault(struct cbt_text rest)
{
    struct cbt_text last = {0};
    for (bool first = true, more = rest.len > 0; more; first = false) {
        struct cbt_text pair, key, value;
        more = leef_take(&rest, '\t', "nrt\\=", &pair);
        if (pair.data == NULL)
            return "a pair with a backslash before what it does not escape";
        if (!leef_take(&pair, '=', "nrt\\=", &key))
            return "a pair without an equal sign";
        if (leef_take(&pair, '=', "nrt\\=", &value))
            return "a value with an equal sign that is not escaped";
        if (!first && !leef_precedes(last, key))
            return "keys out of order, or a key twice";
        last = key;
    }
    return NULL;
}

/* What is wrong with the text; NULL where nothing is. *ret_type is the last field of its header, escaped. */
static inline const char *leef_fault(struct cbt_text text, struct cbt_text *ret_type)
{
    static const char *const fixed[] = {"LEEF:1.0", "CB", "CB"};
    if (!utf8_valid(text.data, text.len))
        return "it is not valid UTF-8";
    if (memchr(text.data, '\n', text.len) != NULL || memchr(text.data, '\r', text.len) != NULL)
        return "it is more than one line";
    for (size_t i = 0; i < 5; i++) {
        struct cbt_text field;
        if (!leef_take(&text, '|', "nrt\\|", &field))
            return "its header has fewer than five fields, or one that is not escaped as it should be";
        if (memchr(field.data, '\t', field.len) != NULL)
            return "a tab in its header";
        if (i < 3 && (field.len != strlen(fixed[i]) || memcmp(field.data, fixed[i], field.len) != 0))
            return "its header begins otherwise";
        *ret_type = field;
    }
    return leef_pairs_fault(text);
}

#endif
