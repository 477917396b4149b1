/* SPDX-License-Identifier: MIT */
/* The json format's output in the event's arena, cut into tokens: see json_cut.h. */
#include "format/json_cut.h"

extern const struct cbt_format cbt_format_json;

/* The JSON of an event of the usual size needs no more, and no second piece. */
#define JSON_BYTES 16384u

/* cbt_buf's grow: where the buffer is the last thing in the arena, it stays. */
static bool grow(struct cbt_buf *buf, size_t bytes)
{
    struct cbt_arena *arena = buf->owner;
    size_t len = cbt_buf_len(buf), capacity = (size_t)(buf->end - buf->begin);
    size_t more = (capacity + bytes + 7) & ~(size_t)7;
    if (arena->base + arena->used == buf->end && cbt_arena_alloc(arena, more) != NULL) {
        buf->end += more;
        return true;
    }
    uint8_t *memory = cbt_arena_alloc(arena, capacity + more);
    if (memory == NULL)
        return false;
    memcpy(memory, buf->begin, len);
    *buf = (struct cbt_buf){
        .begin = memory, .pos = memory + len, .end = memory + capacity + more, .grow = grow, .owner = arena};
    return true;
}

int cbt_json_cut(const void *json, const struct cbt_event *event, struct cbt_json_tokens *ret_tokens,
                 struct cbt_err *err)
{
    struct cbt_arena *arena = event->arena;
    uint8_t *memory = cbt_arena_alloc(arena, JSON_BYTES);
    if (memory == NULL)
        return CBT_ELIMIT;
    struct cbt_buf text = {
        .begin = memory, .pos = memory, .end = memory + JSON_BYTES, .grow = grow, .owner = arena};
    int rc = cbt_format_json.encode(json, event, &text, err);
    if (rc != 0)
        return rc;
    return cbt_json_tokens((struct cbt_text){text.begin, cbt_buf_len(&text)}, arena, ret_tokens, err);
}
