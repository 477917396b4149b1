/* SPDX-License-Identifier: MIT */
/* dlq show: one dead letter with all that is known of it, or its very bytes. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "cbtap/log.h"
#include "cli/dlq.h"

#define WAIT_MS    500
#define DUMP_BYTES 512u
#define LINE_BYTES 16u
#define COPY_BYTES 65536u

static const char *reason_text(struct cbt_text name)
{
    for (unsigned i = 0; i < CBT_DEAD_COUNT; i++)
        if (cbt_dlq_equals(name, cbt_dead_reason_name((enum cbt_dead_reason)i)))
            return cbt_dead_reason_text((enum cbt_dead_reason)i);
    return "the reason is not one that this version knows";
}

static void dump(const uint8_t *data, size_t len)
{
    for (size_t at = 0; at < len; at += LINE_BYTES) {
        size_t n = len - at < LINE_BYTES ? len - at : LINE_BYTES;
        printf("  %08zx ", at);
        for (size_t i = 0; i < LINE_BYTES; i++)
            if (i < n)
                printf(" %02x", data[at + i]);
            else
                fputs("   ", stdout);
        fputs("  |", stdout);
        for (size_t i = 0; i < n; i++)
            putchar(data[at + i] >= 0x20 && data[at + i] < 0x7F ? data[at + i] : '.');
        fputs("|\n", stdout);
    }
}

/* Of a file also where it is too large to be loaded. */
static size_t first_bytes(struct cbt_dlq *dlq, const struct cbt_dlq_letter *letter, uint8_t out[DUMP_BYTES])
{
    if (!letter->in_dir) {
        size_t len = letter->value.len < DUMP_BYTES ? letter->value.len : DUMP_BYTES;
        if (len > 0)
            memcpy(out, letter->value.data, len);
        return len;
    }
    int fd = cbt_dlq_dir_open_body(&dlq->dir, letter->where);
    ssize_t n = fd >= 0 ? read(fd, out, DUMP_BYTES) : -1;
    if (fd >= 0)
        close(fd);
    return n > 0 ? (size_t)n : 0;
}

static int write_raw(struct cbt_dlq *dlq, const struct cbt_dlq_letter *letter)
{
    char chunk[COPY_BYTES];
    if (!letter->in_dir && letter->value.len == 0)
        return 0;
    if (!letter->in_dir)
        return fwrite(letter->value.data, 1, letter->value.len, stdout) == letter->value.len ? 0 : -1;
    int fd = cbt_dlq_dir_open_body(&dlq->dir, letter->where);
    ssize_t n = fd >= 0 ? 1 : -1;
    while (n > 0) {
        n = read(fd, chunk, sizeof chunk);
        if (n > 0 && fwrite(chunk, 1, (size_t)n, stdout) != (size_t)n)
            n = -1;
        else if (n < 0 && errno == EINTR)
            n = 1;
    }
    if (fd >= 0)
        close(fd);
    return (int)n;
}

static int describe(struct cbt_dlq *dlq, struct cbt_dlq_letter *letter)
{
    struct cbt_dlq_judge *judge = NULL;
    struct cbt_dlq_verdict verdict;
    struct cbt_err err;
    char time[32], now[CBT_ERR_TEXT_BYTES + 128];
    uint8_t first[DUMP_BYTES];
    if (cbt_dlq_judge_new(&judge, dlq, &err) != 0)
        return cbt_cli_fail(&err);
    cbt_dlq_time(letter->unix_ms, time);
    printf("where: %s\ntime: %s\nbytes: %" PRIu64 "\n", letter->where, time, letter->bytes);
    for (size_t i = 0; i < letter->field_count; i++) {
        const struct cbt_dlq_field *field = &letter->fields[i];
        cbt_dlq_put(stdout, (struct cbt_text){(const uint8_t *)field->name, strlen(field->name)});
        fputs(": ", stdout);
        cbt_dlq_put(stdout, field->value);
        putchar('\n');
    }
    printf("why: %s\n", reason_text(cbt_dlq_text(letter, "reason")));
    cbt_dlq_judge(judge, dlq, letter, &verdict);
    cbt_dlq_verdict_text(&verdict, now, sizeof now);
    fputs("now: ", stdout); /* what it says may quote the letter */
    cbt_dlq_put(stdout, (struct cbt_text){(const uint8_t *)now, strlen(now)});
    putchar('\n');
    size_t len = first_bytes(dlq, letter, first);
    printf("first %zu bytes:\n", len);
    dump(first, len);
    cbt_dlq_judge_free(judge);
    return CBT_EXIT_DONE;
}

int cbt_dlq_show(struct cbt_dlq *dlq)
{
    struct cbt_dlq_letter letter;
    struct cbt_err err = {0};
    int rc, status = CBT_EXIT_DONE;
    while ((rc = cbt_dlq_next(dlq, WAIT_MS, &letter, &err)) == 0)
        ;
    if (rc < 0) {
        cbt_log_error("the dead-letter topic cannot be read", CBT_S("reason", err.text));
        return CBT_EXIT_FAILED;
    }
    if (rc == 2) {
        if (!dlq->incomplete)
            cbt_dlq_tell_missing(dlq);
        return CBT_EXIT_FAILED;
    }
    if (!dlq->args->raw)
        status = describe(dlq, &letter);
    else if (write_raw(dlq, &letter) != 0)
        status = CBT_EXIT_FAILED;
    if (fflush(stdout) != 0)
        status = CBT_EXIT_FAILED;
    if (status == CBT_EXIT_FAILED)
        cbt_log_error("it cannot be read, or not be written to standard output",
                      CBT_S("where", letter.where));
    return status;
}
