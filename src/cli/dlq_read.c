/* SPDX-License-Identifier: MIT */
/* Which letters the command works on: those of the topic and of the directory that its arguments select. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cbtap/log.h"
#include "cli/dlq.h"

bool cbt_dlq_is_offset(const char *word, int32_t *ret_partition, int64_t *ret_offset)
{
    size_t left = strspn(word, "0123456789");
    size_t right = word[left] == ':' ? strspn(word + left + 1, "0123456789") : 0;
    if (left == 0 || left > 9 || right == 0 || right > 18 || word[left + 1 + right])
        return false;
    *ret_partition = (int32_t)strtol(word, NULL, 10);
    *ret_offset = strtoll(word + left + 1, NULL, 10);
    return true;
}

/* A partition is read from the first to the last of the letters that are named in it; else from where --from
 * says. */
static void narrow(const struct cbt_dlq *dlq, struct kafka_reader_partition *p)
{
    int64_t first = INT64_MAX, last = -1;
    int32_t partition;
    int64_t offset;
    for (size_t i = 0; i < dlq->where_count; i++) {
        if (!cbt_dlq_is_offset(dlq->wheres[i], &partition, &offset) || partition != p->id)
            continue;
        first = offset < first ? offset : first;
        last = offset > last ? offset : last;
    }
    if (dlq->where_count > 0) {
        p->from = first > p->from ? first : p->from;
        p->end = last + 1 < p->end ? last + 1 : p->end;
    }
    for (size_t i = 0; i < dlq->args->from_count; i++)
        if (cbt_dlq_is_offset(dlq->args->froms[i], &partition, &offset) && partition == p->id &&
            offset > p->from)
            p->from = offset;
    if (p->from > p->end)
        p->from = p->end;
}

static bool wants(const struct cbt_dlq *dlq, bool offsets)
{
    bool any = dlq->where_count == 0;
    int32_t partition;
    int64_t offset;
    for (size_t i = 0; i < dlq->where_count; i++)
        any = any || cbt_dlq_is_offset(dlq->wheres[i], &partition, &offset) == offsets;
    return any;
}

static void open_topic(struct cbt_dlq *dlq)
{
    struct cbt_err err = {0};
    int rc = kafka_reader_open(&dlq->reader, dlq->sink, &dlq->config->cbtap, &err);
    if (rc != 0) {
        /* No topic is what a cluster without dead letters looks like. */
        dlq->incomplete = rc != CBT_EREFUSED;
        if (dlq->incomplete)
            cbt_log_error("the dead-letter topic cannot be read",
                          CBT_S("topic", dlq->sink->dead_letter_topic), CBT_S("reason", err.text));
        else
            cbt_log_warning("nothing to read from Kafka", CBT_S("reason", err.text));
        return;
    }
    size_t count;
    struct kafka_reader_partition *partitions = kafka_reader_partitions(dlq->reader, &count);
    for (size_t i = 0; i < count; i++)
        narrow(dlq, &partitions[i]);
}

int cbt_dlq_open(struct cbt_dlq *dlq)
{
    struct cbt_err err = {0};
    dlq->dir.fd = -1;
    dlq->found = calloc(dlq->where_count + 1, sizeof *dlq->found);
    if (dlq->found == NULL) {
        cbt_log_error("out of memory");
        return CBT_EXIT_FAILED;
    }
    if (*dlq->sink->dead_letter_topic && wants(dlq, true))
        open_topic(dlq);
    if (*dlq->sink->dead_letter_dir && wants(dlq, false) &&
        cbt_dlq_dir_open(&dlq->dir, dlq->sink->dead_letter_dir, &err) != 0) {
        dlq->incomplete = true;
        cbt_log_error("the directory of dead letters cannot be read", CBT_S("reason", err.text));
    }
    return 0;
}

void cbt_dlq_close(struct cbt_dlq *dlq)
{
    if (dlq->message != NULL)
        rd_kafka_message_destroy(dlq->message);
    kafka_reader_close(dlq->reader);
    cbt_dlq_dir_close(&dlq->dir);
    free(dlq->found);
    cbt_config_free(dlq->config);
}

static void take_message(const rd_kafka_message_t *message, struct cbt_dlq_letter *ret_letter)
{
    rd_kafka_headers_t *headers = NULL;
    const char *name;
    const void *value;
    size_t len;
    *ret_letter = (struct cbt_dlq_letter){.partition = message->partition,
                                          .offset = message->offset,
                                          .unix_ms = rd_kafka_message_timestamp(message, NULL),
                                          .bytes = message->len,
                                          .value = {message->payload, message->len}};
    snprintf(ret_letter->where, sizeof ret_letter->where, "%" PRId32 ":%" PRId64, message->partition,
             message->offset);
    if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &len) == RD_KAFKA_RESP_ERR_NO_ERROR;
         i++)
        cbt_dlq_add_field(ret_letter, name, (struct cbt_text){value, len});
}

static bool is(const struct cbt_dlq_letter *letter, const char *field, const char *wanted)
{
    return !wanted || cbt_dlq_equals(cbt_dlq_text(letter, field), wanted);
}

static bool selected(struct cbt_dlq *dlq, const struct cbt_dlq_letter *letter)
{
    bool named = dlq->where_count == 0;
    for (size_t i = 0; i < dlq->where_count; i++) {
        size_t len = strlen(letter->where);
        const char *word = dlq->wheres[i];
        int32_t partition;
        int64_t offset;
        bool same = cbt_dlq_is_offset(word, &partition, &offset)
                        ? !letter->in_dir && partition == letter->partition && offset == letter->offset
                        : letter->in_dir && strncmp(word, letter->where, len) == 0 &&
                              (!word[len] || strcmp(word + len, ".bin") == 0);
        dlq->found[i] = dlq->found[i] || same;
        named = named || same;
    }
    return named && is(letter, "reason", dlq->args->reason) && is(letter, "source", dlq->args->source) &&
           letter->unix_ms >= dlq->since_ms;
}

/* The same as cbt_dlq_next, of the topic. */
static int next_of_topic(struct cbt_dlq *dlq, int timeout_ms, struct cbt_dlq_letter *ret_letter,
                         struct cbt_err *err)
{
    if (dlq->message != NULL)
        rd_kafka_message_destroy(dlq->message);
    dlq->message = NULL;
    int rc = kafka_reader_next(dlq->reader, timeout_ms, &dlq->message, err);
    if (rc == 1)
        take_message(dlq->message, ret_letter);
    return rc;
}

int cbt_dlq_next(struct cbt_dlq *dlq, int timeout_ms, struct cbt_dlq_letter *ret_letter, struct cbt_err *err)
{
    for (;;) {
        int rc = 2;
        if (dlq->reader != NULL)
            rc = next_of_topic(dlq, timeout_ms, ret_letter, err);
        if (rc == 2 && dlq->dir.fd >= 0)
            rc = cbt_dlq_dir_next(&dlq->dir, ret_letter);
        if (rc != 1 || selected(dlq, ret_letter))
            return rc;
    }
}

int cbt_dlq_load(struct cbt_dlq *dlq, struct cbt_dlq_letter *letter, struct cbt_err *err)
{
    size_t max_bytes = dlq->config->cbtap.frame_max_bytes;
    if (letter->in_dir)
        return cbt_dlq_dir_load(&dlq->dir, letter, max_bytes, err);
    if (letter->value.len > max_bytes)
        return cbt_err_set(err, CBT_ELIMIT, "it has %zu bytes and frame_max_bytes is %zu", letter->value.len,
                           max_bytes);
    return CBT_OK;
}

size_t cbt_dlq_tell_missing(const struct cbt_dlq *dlq)
{
    size_t missing = 0;
    for (size_t i = 0; i < dlq->where_count; i++) {
        if (dlq->found[i])
            continue;
        missing++;
        cbt_log_error("there is no such dead letter: cbtap dlq list shows those that there are",
                      CBT_S("where", dlq->wheres[i]), CBT_S("topic", dlq->sink->dead_letter_topic),
                      CBT_S("dead_letter_dir", dlq->sink->dead_letter_dir));
    }
    return missing;
}
