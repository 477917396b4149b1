/* SPDX-License-Identifier: MIT */
/*
 * dlq replay: sends dead letters through the daemon's own pipeline again and says what became of each.
 *
 * Happy path: the pipeline runs with one source, the letters (dlq_source.c), until all are settled, which is
 * when all that was made of them is delivered. A signal ends it in order. Kafka keeps its dead letters, for a
 * topic gives up no single record; so it says where to go on.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cbtap/log.h"
#include "cli/dlq.h"

#define WAIT_MS 500

static int dry_run(struct cbt_dlq *dlq)
{
    struct cbt_dlq_judge *judge = NULL;
    struct cbt_dlq_letter letter;
    struct cbt_dlq_verdict verdict;
    struct cbt_err err = {0};
    char text[CBT_ERR_TEXT_BYTES + 128];
    int rc, status = CBT_EXIT_DONE;
    if (cbt_dlq_judge_new(&judge, dlq, &err) != 0)
        return cbt_cli_fail(&err);
    while ((rc = cbt_dlq_next(dlq, WAIT_MS, &letter, &err)) == 0 || rc == 1) {
        if (rc == 0)
            continue;
        cbt_dlq_judge(judge, dlq, &letter, &verdict);
        cbt_dlq_verdict_text(&verdict, text, sizeof text);
        printf("%-12s  ", letter.where);
        cbt_dlq_put(stdout, (struct cbt_text){(const uint8_t *)text, strlen(text)});
        putchar('\n');
        if (verdict.unfit || verdict.untried || verdict.broken > 0)
            status = CBT_EXIT_FAILED;
    }
    if (rc < 0)
        cbt_log_error("the dead-letter topic cannot be read on", CBT_S("reason", err.text));
    if (rc < 0 || fflush(stdout) != 0)
        status = CBT_EXIT_FAILED;
    cbt_dlq_judge_free(judge);
    return status;
}

/* The first offset of the partition that is not settled. */
static int64_t go_on_at(const struct cbt_dlq_feed *feed, const struct kafka_reader_partition *p)
{
    int64_t offset = p->from;
    if (feed->has_letter && !feed->letter.in_dir && feed->letter.partition == p->id)
        offset = feed->letter.offset;
    for (size_t i = 0; i < CBT_DLQ_SLOTS; i++) {
        const struct cbt_dlq_slot *slot = &feed->slots[i];
        if (slot->used && !slot->in_dir && slot->partition == p->id && slot->offset < offset)
            offset = slot->offset;
    }
    return offset;
}

static void tell_offsets(const struct cbt_dlq *dlq, const struct cbt_dlq_feed *feed)
{
    size_t count = 0;
    if (dlq->reader == NULL || dlq->where_count > 0)
        return;
    const struct kafka_reader_partition *partitions = kafka_reader_partitions(dlq->reader, &count);
    for (size_t i = 0; i < count; i++) {
        char option[48];
        snprintf(option, sizeof option, "--from %" PRId32 ":%" PRId64, partitions[i].id,
                 go_on_at(feed, &partitions[i]));
        cbt_log_info("Kafka keeps its dead letters; to go on behind those of this replay",
                     CBT_I("partition", partitions[i].id), CBT_S("option", option));
    }
}

/* The exit status. */
static int report(const struct cbt_dlq *dlq, const struct cbt_dlq_feed *feed, bool ended)
{
    size_t missing = ended ? cbt_dlq_tell_missing(dlq) : 0;
    cbt_log_info("replayed", CBT_I("delivered", feed->replayed), CBT_I("filtered", feed->filtered),
                 CBT_I("broken_still", feed->failed), CBT_I("left", feed->skipped),
                 CBT_I("in_flight", feed->used));
    tell_offsets(dlq, feed);
    if (feed->read_failed)
        cbt_log_error("the dead-letter topic cannot be read on", CBT_S("reason", feed->err.text));
    if (ended && feed->replayed + feed->filtered + feed->failed + feed->skipped == 0 && missing == 0)
        cbt_log_info("there was nothing to replay");
    bool all = ended && !feed->read_failed && feed->failed + feed->skipped + feed->kept + missing == 0;
    return all ? CBT_EXIT_DONE : CBT_EXIT_FAILED;
}

int cbt_dlq_replay(struct cbt_dlq *dlq)
{
    struct cbt_err err = {0};
    if (dlq->incomplete)
        return CBT_EXIT_FAILED;
    if (dlq->args->dry_run) {
        int status = dry_run(dlq);
        return cbt_dlq_tell_missing(dlq) > 0 ? CBT_EXIT_FAILED : status;
    }
    struct cbt_dlq_feed *feed = calloc(1, sizeof *feed);
    if (feed == NULL) {
        cbt_log_error("out of memory");
        return CBT_EXIT_FAILED;
    }
    feed->dlq = dlq;
    int status = CBT_EXIT_FAILED;
    struct cbt_feed_run run;
    if (cbt_feed_start(&run, dlq->config, "dlq", &cbt_dlq_source, &feed->feed, &err) == 0) {
        bool ended = cbt_feed_wait(&run, &feed->feed);
        ended = cbt_feed_stop(&run, "stopped with dead letters in flight") && ended;
        cbt_feed_free(&run);
        status = report(dlq, feed, ended);
    } else {
        status = cbt_cli_fail(&err);
    }
    free(feed);
    return status;
}
