/* SPDX-License-Identifier: MIT */
/* Values of an event's JSON by their keys, and what is to be known of their characters: see cells.h. */
#include "format/cells.h"

#include <stdlib.h>
#include <string.h>

static struct cbt_text trimmed(char *item)
{
    item += strspn(item, " \t");
    size_t len = strlen(item);
    while (len > 0 && (item[len - 1] == ' ' || item[len - 1] == '\t'))
        len--;
    return (struct cbt_text){(const uint8_t *)item, len};
}

int cbt_fields_parse(struct cbt_fields *ret_fields, const char *list, struct cbt_err *err)
{
    ret_fields->count = 0;
    ret_fields->memory = strdup(list);
    if (ret_fields->memory == NULL)
        return cbt_err_set(err, CBT_ENOMEM, "no memory for the fields");
    char *rest = ret_fields->memory, *item;
    while ((item = strsep(&rest, ",")) != NULL) {
        if (ret_fields->count == CBT_FIELDS_MAX)
            return cbt_err_set(err, CBT_EINVAL, "fields: more than %d", CBT_FIELDS_MAX);
        struct cbt_text name = trimmed(item);
        if (name.len == 0)
            return cbt_err_set(err, CBT_EINVAL,
                               "fields: a name is empty; write keys of docs/EVENTS.md, e.g. "
                               "timestamp,computer_name,path");
        ret_fields->name[ret_fields->count++] = name;
    }
    return CBT_OK;
}

void cbt_fields_free(struct cbt_fields *fields)
{
    free(fields->memory);
    fields->memory = NULL;
}

/* The value of `key` in the object at `object`, or 0. */
static unsigned find(const struct cbt_json_tokens *tokens, unsigned object, struct cbt_text key)
{
    unsigned at = object + 1;
    for (int left = tokens->token[object].size; left > 0; left--) {
        if (cbt_json_string_is(cbt_json_token_text(tokens, at), key))
            return at + 1;
        at = cbt_json_token_end(tokens, at + 1);
    }
    return 0;
}

static unsigned find_in_doc(const struct cbt_cells *cells, struct cbt_text key)
{
    unsigned at = find(&cells->tokens, 0, key);
    return at == 0 && cells->doc != 0 ? find(&cells->tokens, cells->doc, key) : at;
}

int cbt_cells_cut(const void *json, const struct cbt_event *event, struct cbt_cells *ret_cells,
                  struct cbt_err *err)
{
    ret_cells->doc = 0;
    int rc = cbt_json_cut(json, event, &ret_cells->tokens, err);
    if (rc != 0 || event->type != CBT_TYPE_NOTIFICATION)
        return rc;
    const jsmntok_t *token = ret_cells->tokens.token;
    unsigned docs = find(&ret_cells->tokens, 0, CBT_TEXT("docs"));
    if (docs != 0 && token[docs].type == JSMN_ARRAY && token[docs].size == 1 &&
        token[docs + 1].type == JSMN_OBJECT)
        ret_cells->doc = docs + 1;
    return CBT_OK;
}

static unsigned find_path(const struct cbt_cells *cells, struct cbt_text key)
{
    const uint8_t *dot = memchr(key.data, '.', key.len);
    if (dot == NULL)
        return 0;
    size_t len = (size_t)(dot - key.data);
    unsigned object = find_in_doc(cells, (struct cbt_text){key.data, len});
    if (object == 0 || cells->tokens.token[object].type != JSMN_OBJECT)
        return 0;
    return find(&cells->tokens, object, (struct cbt_text){dot + 1, key.len - len - 1});
}

struct cbt_cell cbt_cell_find(const struct cbt_cells *cells, struct cbt_text key)
{
    static const struct cbt_cell none = {.text = {(const uint8_t *)"", 0}};
    const jsmntok_t *token = cells->tokens.token;
    unsigned at = find_in_doc(cells, key);
    if (at == 0)
        at = find_path(cells, key);
    if (at == 0)
        return none;
    if (token[at].type == JSMN_ARRAY && token[at].size == 1)
        at++;
    struct cbt_text text = cbt_json_token_text(&cells->tokens, at);
    if (token[at].type == JSMN_PRIMITIVE && text.data[0] == 'n')
        return none;
    return (struct cbt_cell){.text = text, .escaped = token[at].type == JSMN_STRING};
}

struct range {
    uint32_t first, last;
};

static bool is_in(uint32_t c, const struct range *ranges, size_t count)
{
    for (size_t i = 0; i < count && ranges[i].first <= c; i++)
        if (c <= ranges[i].last)
            return true;
    return false;
}
#define IS_IN(c, ranges) is_in((c), (ranges), sizeof(ranges) / sizeof((ranges)[0]))

/* Unicode 15, the categories Cc, Zl, Zp, and of Cf and the default ignorable what turns or hides. */
bool cbt_char_is_harmful(uint32_t c)
{
    static const struct range ranges[] = {
        {0, 0x1F},          {0x7F, 0x9F},       {0xAD, 0xAD},     {0x61C, 0x61C},   {0x115F, 0x1160},
        {0x180B, 0x180F},   {0x200B, 0x200F},   {0x2028, 0x202E}, {0x2060, 0x206F}, {0x3164, 0x3164},
        {0xFE00, 0xFE0F},   {0xFEFF, 0xFEFF},   {0xFFA0, 0xFFA0}, {0xFFF0, 0xFFFB}, {0x1BCA0, 0x1BCA3},
        {0x1D173, 0x1D17A}, {0xE0000, 0xE0FFF},
    };
    return (c < 0x20 || c >= 0x7F) && IS_IN(c, ranges);
}

/* Unicode Standard Annex 11, by whole blocks: a column too many cuts a line early, one too few breaks it. */
unsigned cbt_char_columns(uint32_t c)
{
    static const struct range combining[] = {
        {0x300, 0x36F}, {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF}, {0x20D0, 0x20FF}, {0xFE20, 0xFE2F},
    };
    static const struct range wide[] = {
        {0x1100, 0x115F}, {0x231A, 0x231B},   {0x23E9, 0x23F3},   {0x25FD, 0x27BF},
        {0x2B1B, 0x2B55}, {0x2E80, 0xA4CF},   {0xA960, 0xA97F},   {0xAC00, 0xD7A3},
        {0xF900, 0xFAFF}, {0xFE10, 0xFE19},   {0xFE30, 0xFE6F},   {0xFF00, 0xFF60},
        {0xFFE0, 0xFFE6}, {0x16FE0, 0x1B2FF}, {0x1F000, 0x1FAFF}, {0x20000, 0x3FFFD},
    };
    if (c < 0x300)
        return 1;
    return IS_IN(c, combining) ? 0 : IS_IN(c, wide) ? 2 : 1;
}
