/* SPDX-License-Identifier: MIT */
/*
 * What there is to say of librdkafka and of Kafka's absence: one line when a condition begins, one when it
 * ends. What librdkafka itself writes is detail, let through in small numbers.
 */
#include <string.h>
#include <syslog.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "sink/kafka.h"

#define WINDOW_MS    10000
#define WINDOW_LINES 10

/* True while the window has lines left; *ret_left_out is how many the last one had not. Not under the sink's
 * lock: librdkafka may write while we hold that. */
static bool has_line_left(int64_t *ret_left_out)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static int64_t began_ns, lines;
    int64_t now = cbt_now_ns();
    *ret_left_out = 0;
    pthread_mutex_lock(&lock);
    if (began_ns == 0 || now - began_ns > WINDOW_MS * KAFKA_NS_PER_MS) {
        *ret_left_out = lines > WINDOW_LINES ? lines - WINDOW_LINES : 0;
        began_ns = now;
        lines = 0;
    }
    bool left = ++lines <= WINDOW_LINES;
    pthread_mutex_unlock(&lock);
    return left;
}

void kafka_log_cb(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    /* What a broker's connection or an experimental property has to say is told by ourselves, or not worth
     * telling. */
    static const char *const ours[] = {"FAIL", "ERROR", "FATAL", "TERMINATE", "MOCK", "GETPID", "CONFWARN"};
    bool detail = level > LOG_WARNING;
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        detail = detail || strcmp(facility, ours[i]) == 0;
    if (strcmp(facility, "CONFWARN") == 0 && strstr(text, "enable.gapless.guarantee is experimental") == NULL)
        detail = level > LOG_WARNING;
    int64_t left_out = 0;
    if (detail || !has_line_left(&left_out)) {
        cbt_log_debug("librdkafka", CBT_S("facility", facility), CBT_S("text", text));
        return;
    }
    if (left_out > 0)
        cbt_log_warning("librdkafka had more to say; log.level = debug shows it",
                        CBT_I("lines_left_out", left_out));
    if (level <= LOG_ERR)
        cbt_log_error("librdkafka", CBT_S("facility", facility), CBT_S("text", text));
    else
        cbt_log_warning("librdkafka", CBT_S("facility", facility), CBT_S("text", text));
}

void kafka_set_down(struct kafka *k, bool down, const char *reason)
{
    char fault[sizeof(k->fault)];
    pthread_mutex_lock(&k->lock);
    bool changed = atomic_exchange(&k->down, down) != down;
    int64_t now = cbt_now_ns(), since = k->down_since_ns;
    if (changed && down)
        k->down_since_ns = now;
    if (down && k->fault[0] == '\0')
        snprintf(k->fault, sizeof(k->fault), "%s", reason);
    memcpy(fault, k->fault, sizeof(fault));
    const char *hint = down ? kafka_hint(fault) : NULL;
    /* It may have been away before it refuses us. */
    bool refused = hint != NULL && !k->refusal_told;
    k->refusal_told = down && (refused || k->refusal_told);
    if (!down)
        k->fault[0] = '\0';
    pthread_mutex_unlock(&k->lock);
    if (refused)
        cbt_log_warning("Kafka refuses us, or is refused; events wait for it", CBT_S("sink", k->name),
                        CBT_S("reason", fault), CBT_S("hint", hint));
    else if (changed && down)
        cbt_log_warning("Kafka does not answer; events wait for it", CBT_S("sink", k->name),
                        CBT_S("reason", fault));
    else if (changed)
        cbt_log_info("Kafka answers again", CBT_S("sink", k->name),
                     CBT_D("seconds", (double)(now - since) / 1e9));
}

/* @thread delivery, from rd_kafka_poll */
void kafka_error_cb(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
    (void)rk;
    struct kafka *k = opaque;
    if (code == RD_KAFKA_RESP_ERR__FATAL)
        return; /* seen by the delivery thread itself */
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
        kafka_set_down(k, true, reason);
    } else {
        pthread_mutex_lock(&k->lock);
        snprintf(k->fault, sizeof(k->fault), "%s", reason);
        pthread_mutex_unlock(&k->lock);
    }
    cbt_log_debug("librdkafka", CBT_S("error", rd_kafka_err2name((rd_kafka_resp_err_t)code)),
                  CBT_S("text", reason));
    kafka_ask(k);
}
