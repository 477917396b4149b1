/* SPDX-License-Identifier: MIT */
/*
 * Records are encoded straight into the open block, one behind the other: struct cbt_record, key text where
 * it is new, value. A frame holds a reference on every block from the one with its first record to the one
 * with its last. Where there is no room, batch_room.c waits for it.
 */
#include "decode/batch.h"

#include <stdlib.h>
#include <string.h>

#include "cbtap/clock.h"
#include "cbtap/notification.h"

#define RECORD_MARGIN_BYTES 1024
#define KEY_MAX_BYTES       64
#define HEADERS_BYTES       384 /* of three headers in librdkafka, without the texts of host and type */

int cbt_batch_init(struct cbt_batch *batch, const struct cbt_worker_context *context, struct cbt_alarm *alarm,
                   const _Atomic bool *quit, struct cbt_err *err)
{
    *batch = (struct cbt_batch){.context = context, .alarm = alarm, .quit = quit};
    cbt_block_pool_init(&batch->blocks, context->budget, CBT_ACCOUNT_WORKER, context->block_bytes,
                        context->blocks_cached_max);
    batch->frames = calloc(CBT_BATCH_FRAMES_MAX, sizeof(*batch->frames));
    bool complete = batch->frames != NULL;
    for (unsigned i = 0; i < context->outlet_count; i++) {
        batch->records[i] = calloc(CBT_BATCH_RECORDS_MAX, sizeof(struct cbt_record *));
        complete = complete && batch->records[i] != NULL;
    }
    return complete ? CBT_OK : cbt_err_set(err, CBT_ENOMEM, "no memory for a worker's batch");
}

void cbt_batch_free(struct cbt_batch *batch)
{
    for (unsigned i = 0; i < CBT_SINKS_MAX; i++)
        free(batch->records[i]);
    free(batch->frames);
    cbt_batch_trim(batch);
    cbt_block_pool_free(&batch->blocks);
}

static int64_t thread_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Hands the records of each sink over; before that, every frame is told how many it has to wait for. */
void cbt_batch_flush(struct cbt_batch *batch)
{
    const struct cbt_worker_context *context = batch->context;
    if (batch->frame_count == 0)
        return;
    int64_t start = cbt_now_ns(), start_cpu = thread_cpu_ns();
    for (uint32_t i = 0; i < batch->frame_count; i++) {
        struct cbt_batch_frame *entry = &batch->frames[i];
        struct cbt_frame *frame = entry->frame;
        frame->records += entry->records;
        if (frame->submitted_ns == 0 && entry->records != 0)
            frame->submitted_ns = start;
        /* The worker's own one goes in the same step where records take its place: the last touch of the
         * frame. */
        uint32_t add = entry->complete && entry->records != 0 ? entry->records - 1 : entry->records;
        if (add != 0)
            atomic_fetch_add_explicit(&frame->pending, add, memory_order_relaxed);
        if (entry->complete && entry->records == 0)
            cbt_settle(context->settler, frame, 1);
    }
    /* A sink without its peer, or with a full queue, waits as long as it takes: that is no fault of this
     * thread. */
    atomic_store_explicit(&context->stats->waiting_for_peer, 1, memory_order_relaxed);
    cbt_poison_pause(&batch->watch);
    for (unsigned i = 0; i < context->outlet_count; i++) {
        if (batch->record_count[i] == 0)
            continue;
        cbt_add(&context->stats->submitted_records[i], batch->event_count[i]);
        context->outlets[i].sink->submit(context->outlets[i].sink_self, context->index, batch->records[i],
                                         batch->record_count[i]);
        batch->record_count[i] = 0;
        batch->event_count[i] = 0;
    }
    cbt_poison_resume(&batch->watch);
    int64_t end = cbt_now_ns();
    cbt_batch_end_wait(context->stats, end);
    cbt_settle_flush(context->settler);
    batch->frame_count = 0;
    if (batch->frame != NULL)
        batch->frames[batch->frame_count++] = (struct cbt_batch_frame){.frame = batch->frame};
    /* What the hand-over took beyond its own work was waiting for the sink. */
    int64_t waited = end - start - (thread_cpu_ns() - start_cpu);
    batch->blocked_ns += waited > 0 ? waited : 0;
}

bool cbt_batch_begin(struct cbt_batch *batch, struct cbt_frame *frame)
{
    if (batch->frame_count == CBT_BATCH_FRAMES_MAX)
        cbt_batch_flush(batch);
    if (cbt_budget_spent(batch->context->budget, CBT_ACCOUNT_WORKER) && !cbt_batch_wait_to_begin(batch))
        return false;
    batch->frame = frame;
    batch->key = NULL;
    batch->type.data = NULL;
    batch->frames[batch->frame_count++] = (struct cbt_batch_frame){.frame = frame};
    return true;
}

void cbt_batch_end(struct cbt_batch *batch)
{
    batch->frames[batch->frame_count - 1].complete = true;
    batch->frame = NULL;
    if (batch->overdrawing) {
        batch->overdrawing = false;
        atomic_store(&batch->context->budget->overdrawing, 0);
    }
}

/* cbt_buf's grow: moves the unfinished record to a block with more room. */
static bool grow(struct cbt_buf *buf, size_t bytes)
{
    struct cbt_batch *batch = buf->owner;
    size_t len = cbt_buf_len(buf);
    size_t head = sizeof(struct cbt_record) + KEY_MAX_BYTES;
    if (len + bytes > batch->context->value_max_bytes)
        return false;
    uint8_t *begin = buf->begin;
    /* Twice, so that a long value is moved a few times only. The old block lives: begin lies in it, and so
     * the copy comes before anything else can take its place. */
    struct cbt_block *old = batch->blocks.open;
    cbt_block_ref(old);
    bool ok = cbt_batch_make_room(batch, head + 2 * (len + bytes));
    if (ok) {
        struct cbt_block *block = batch->blocks.open;
        buf->begin = block->data + block->used + head;
        memcpy(buf->begin, begin, len);
        buf->pos = buf->begin + len;
        buf->end = block->data + block->capacity;
    }
    cbt_block_unref(old);
    return ok;
}

static size_t align_up(size_t n)
{
    size_t to = _Alignof(struct cbt_record);
    return (n + to - 1) & ~(to - 1);
}

/* Memory of the open block up to `end` becomes the frame's. */
static void claim(struct cbt_batch *batch, const uint8_t *end)
{
    struct cbt_block *block = batch->blocks.open;
    struct cbt_frame *frame = batch->frame;
    block->used = align_up((size_t)(end - block->data));
    if (block->used > block->capacity)
        block->used = block->capacity;
    if (frame->first_block == NULL) {
        frame->first_block = block;
        frame->record_blocks = 1;
        cbt_block_ref(block);
    }
}

/* Registers a finished record: its memory up to `end` is the frame's. */
static void commit(struct cbt_batch *batch, unsigned outlet, struct cbt_record *record, const uint8_t *end)
{
    claim(batch, end);
    batch->records[outlet][batch->record_count[outlet]++] = record;
    batch->frames[batch->frame_count - 1].records++;
    batch->credit--;
    if (record->dead == NULL)
        batch->event_count[outlet]++;
    if (batch->record_count[outlet] == CBT_BATCH_RECORDS_MAX)
        cbt_batch_flush(batch);
}

/* The record's key; its text is written at `space` where the frame does not have it yet. */
static void set_key(struct cbt_batch *batch, enum cbt_part_kind kind, const struct cbt_outlet *outlet,
                    const struct cbt_event *event, struct cbt_record *record, uint8_t *space)
{
    if (outlet->key == CBT_KEY_NONE || (kind == CBT_PART_NOTIFICATION && !event->env.has_sensor_id))
        return;
    if (outlet->key == CBT_KEY_PROCESS_GUID && kind == CBT_PART_EVENT) {
        size_t len = cbt_event_process_guid(event, space);
        if (len != 0) {
            record->key = space;
            record->key_len = (uint32_t)len;
            return;
        }
    }
    if (batch->key == NULL || batch->key_sensor_id != event->env.sensor_id) {
        batch->key_sensor_id = event->env.sensor_id;
        batch->key_len = cbt_put_decimal(space, event->env.sensor_id);
        batch->key = space;
    }
    record->key = batch->key;
    record->key_len = batch->key_len;
}

/* A notification's type, which may lie in the decoder's arena: copied once a frame, for its records outlive
 * that. All events of such a frame are of one type, for the type comes of its routing key. */
static bool keep_type(struct cbt_batch *batch, struct cbt_text type)
{
    if (batch->type.data != NULL)
        return true;
    if (!cbt_batch_make_room(batch, type.len))
        return false;
    uint8_t *copy = batch->blocks.open->data + batch->blocks.open->used;
    if (type.len > 0)
        memcpy(copy, type.data, type.len);
    claim(batch, copy + type.len);
    batch->type = (struct cbt_text){copy, type.len};
    return true;
}

/* Puts the host behind the value, for the headers: the event's own text dies with it. Leaves free what
 * librdkafka's copy of the headers takes, so that it is charged. What does not fit fails `buf`. */
static void keep_host(struct cbt_buf *buf, const struct cbt_event *event)
{
    struct cbt_text host = event->env.host_name;
    if (host.len > 0)
        cbt_buf_put(buf, host.data, host.len);
    cbt_buf_reserve(buf, HEADERS_BYTES + host.len + event->type_name.len);
}

int cbt_batch_add_event(struct cbt_batch *batch, unsigned outlet_index, const struct cbt_event *event,
                        struct cbt_err *err)
{
    const struct cbt_outlet *outlet = &batch->context->outlets[outlet_index];
    size_t head = sizeof(struct cbt_record) + KEY_MAX_BYTES;
    enum cbt_part_kind kind = event->type == CBT_TYPE_NOTIFICATION ? CBT_PART_NOTIFICATION : CBT_PART_EVENT;
    if (kind == CBT_PART_NOTIFICATION && !keep_type(batch, event->type_name))
        return CBT_EIO;
    size_t input = event->notification != NULL ? cbt_note_text_bytes(event->notification) : event->raw.len;
    if (!cbt_batch_make_record_room(batch, head + RECORD_MARGIN_BYTES + 2 * input))
        return CBT_EIO;
    struct cbt_block *block = batch->blocks.open;
    uint8_t *begin = block->data + block->used + head;
    struct cbt_buf buf = {
        .begin = begin, .pos = begin, .end = block->data + block->capacity, .grow = grow, .owner = batch};
    int rc = outlet->format->encode(outlet->format_self, event, &buf, err);
    if (atomic_load_explicit(batch->quit, memory_order_relaxed) && rc != 0)
        return CBT_EIO;
    if (rc != 0)
        return rc;
    bool headers = outlet->format->headers;
    size_t value_len = cbt_buf_len(&buf), host_len = headers ? event->env.host_name.len : 0;
    if (headers)
        keep_host(&buf, event);
    if (buf.failed || value_len > batch->context->value_max_bytes)
        return cbt_err_set(err, CBT_ELIMIT, "its output is larger than %zu bytes",
                           batch->context->value_max_bytes);
    bool notification = kind == CBT_PART_NOTIFICATION;
    struct cbt_record *record = (struct cbt_record *)(void *)(buf.begin - head);
    *record = (struct cbt_record){.frame = batch->frame,
                                  .value = buf.begin,
                                  .value_len = (uint32_t)value_len,
                                  .type_name = notification ? batch->type : event->type_name,
                                  .event_type_name = notification ? batch->type : event->event_type_name,
                                  .unix_ms = event->unix_ms,
                                  .sensor_id = event->env.sensor_id,
                                  .host_len = (uint32_t)host_len};
    set_key(batch, kind, outlet, event, record, (uint8_t *)(record + 1));
    if (event->unix_ms != 0)
        batch->frame->last_event_unix_ms = event->unix_ms;
    commit(batch, outlet_index, record,
           headers ? buf.pos + HEADERS_BYTES + host_len + event->type_name.len : buf.pos);
    return CBT_OK;
}

int cbt_batch_add_dead(struct cbt_batch *batch, unsigned outlet, const struct cbt_part *part,
                       const char *detail, int32_t sensor_id)
{
    size_t detail_len = strnlen(detail, CBT_ERR_TEXT_BYTES - 1);
    size_t copied = part->in_body ? 0 : part->data.len;
    size_t head = sizeof(struct cbt_record) + sizeof(struct cbt_dead_letter);
    if (!cbt_batch_make_record_room(batch, head + detail_len + 1 + copied))
        return CBT_EIO;
    struct cbt_block *block = batch->blocks.open;
    struct cbt_record *record = (struct cbt_record *)(void *)(block->data + block->used);
    struct cbt_dead_letter *dead = (struct cbt_dead_letter *)(void *)(record + 1);
    char *text = (char *)(dead + 1);
    memcpy(text, detail, detail_len);
    text[detail_len] = '\0';
    uint8_t *value = (uint8_t *)text + detail_len + 1;
    if (copied != 0)
        memcpy(value, part->data.data, copied);
    *dead = (struct cbt_dead_letter){.reason = part->reason,
                                     .framing = part->framing,
                                     .detail = text,
                                     .entry = part->entry,
                                     .index = part->index + batch->frame->file_index,
                                     .offset = part->offset + batch->frame->file_offset};
    *record = (struct cbt_record){.frame = batch->frame,
                                  .dead = dead,
                                  .value = part->in_body ? part->data.data : value,
                                  .value_len = (uint32_t)part->data.len,
                                  .sensor_id = sensor_id};
    commit(batch, outlet, record, value + copied);
    return CBT_OK;
}
