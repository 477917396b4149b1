/* SPDX-License-Identifier: MIT */
/* The judge of JSON texts: see json_judge.h. */
#include "cbtap/json_judge.h"

#include <string.h>
#include <yajl/yajl_parse.h>

/* yajl does not expect memory to run out. It needs its state, and where the text ends within a token up to
 * four times that token (a buffer that doubles, in an arena that does not reuse): so much must be there
 * beforehand. */
#define YAJL_STATE_BYTES 8192u

struct block_head {
    size_t bytes;
};

static void *arena_malloc(void *arena, size_t bytes)
{
    struct block_head *head = cbt_arena_alloc(arena, sizeof(*head) + bytes);
    if (head == NULL)
        return NULL;
    head->bytes = bytes;
    return head + 1;
}

static void arena_free(void *arena, void *memory)
{
    (void)arena;
    (void)memory;
}

static void *arena_realloc(void *arena, void *memory, size_t bytes)
{
    void *moved = arena_malloc(arena, bytes);
    if (moved == NULL || memory == NULL)
        return moved;
    size_t old = ((struct block_head *)memory - 1)->bytes;
    memcpy(moved, memory, old < bytes ? old : bytes);
    return moved;
}

struct reader {
    unsigned depth;
    bool done; /* an object has ended at the top */
    bool too_deep;
};

static int open_container(struct reader *reader)
{
    reader->too_deep = ++reader->depth > CBT_JSON_DEPTH_MAX;
    return !reader->too_deep;
}

static int on_start_map(void *self)
{
    return open_container(self);
}

static int on_start_array(void *self)
{
    struct reader *reader = self;
    return reader->depth == 0 ? 0 : open_container(reader);
}

/* The end of the object is the end of parsing: yajl would take the beginning of a token behind it for white
 * space. */
static int on_end(void *self)
{
    struct reader *reader = self;
    reader->done = --reader->depth == 0;
    return !reader->done;
}

/* Scalars have no callback: a text that is nothing else never opens an object, and a string that nobody asks
 * for is not decoded. */
static const yajl_callbacks callbacks = {
    .yajl_start_map = on_start_map,
    .yajl_end_map = on_end,
    .yajl_start_array = on_start_array,
    .yajl_end_array = on_end,
};

static struct cbt_text trim(struct cbt_text text)
{
    static const char space[] = " \t\r\n";
    while (text.len > 0 && text.data[0] != 0 && strchr(space, text.data[0]) != NULL) {
        text.data++;
        text.len--;
    }
    while (text.len > 0 && text.data[text.len - 1] != 0 && strchr(space, text.data[text.len - 1]) != NULL)
        text.len--;
    return text;
}

enum cbt_json_verdict cbt_json_judge(struct cbt_text *json, struct cbt_arena *arena)
{
    struct reader reader = {0};
    size_t used = arena->used, left = arena->capacity - used;
    yajl_alloc_funcs memory = {arena_malloc, arena_realloc, arena_free, arena};
    *json = trim(*json);
    if (json->len > left / 4 || left - 4 * json->len < YAJL_STATE_BYTES)
        return CBT_JSON_TOO_LARGE;
    yajl_handle yajl = yajl_alloc(&callbacks, &memory, &reader);
    if (yajl == NULL)
        return CBT_JSON_TOO_LARGE;
    yajl_config(yajl, yajl_dont_validate_strings, 1);
    bool object = yajl_parse(yajl, json->data, json->len) == yajl_status_client_canceled && reader.done &&
                  yajl_get_bytes_consumed(yajl) == json->len;
    cbt_arena_rewind(arena, used);
    if (reader.too_deep)
        return CBT_JSON_TOO_DEEP;
    return object ? CBT_JSON_OBJECT : CBT_JSON_NONE;
}
