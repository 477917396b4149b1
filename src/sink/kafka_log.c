/* SPDX-License-Identifier: MIT */
/* What librdkafka has to say: its log at our levels, without floods, and whether brokers are reachable, one
 * line each. */
#include <string.h>
#include <syslog.h>

#include "cbtap/clock.h"
#include "cbtap/log.h"
#include "sink/kafka.h"

#define REPEAT_MS  30000
#define FACILITIES 32
#define NAME_BYTES 16

void kafka_log_cb(const rd_kafka_t *producer, int level, const char *facility, const char *text)
{
    (void)producer;
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct {
        char name[NAME_BYTES];
        int64_t logged_ns;
    } seen[FACILITIES];

    int64_t now = cbt_now_ns();
    bool repeated = false;
    pthread_mutex_lock(&lock);
    size_t oldest = 0;
    for (size_t i = 0; i < FACILITIES; i++) {
        if (strncmp(seen[i].name, facility, NAME_BYTES - 1) == 0 && seen[i].logged_ns != 0) {
            repeated = now - seen[i].logged_ns < REPEAT_MS * INT64_C(1000000);
            oldest = i;
            break;
        }
        if (seen[i].logged_ns < seen[oldest].logged_ns)
            oldest = i;
    }
    if (!repeated) {
        strncpy(seen[oldest].name, facility, NAME_BYTES - 1);
        seen[oldest].logged_ns = now;
    }
    pthread_mutex_unlock(&lock);
    /* Reachability and failed deliveries are told by the sink itself; this is detail. */
    if (!repeated && level <= LOG_WARNING)
        cbt_log_info("librdkafka", CBT_S("facility", facility), CBT_S("text", text));
    else
        cbt_log_debug("librdkafka", CBT_S("facility", facility), CBT_S("text", text));
}

void kafka_set_down(struct kafka *k, bool down, const char *reason)
{
    if (atomic_exchange(&k->down, down) == down)
        return;
    if (down)
        cbt_log_warning("Kafka is not reachable; events wait", CBT_S("sink", k->context.config->name),
                        CBT_S("reason", reason));
    else
        cbt_log_info("Kafka is reachable", CBT_S("sink", k->context.config->name));
}

void kafka_error_cb(rd_kafka_t *producer, int code, const char *reason, void *opaque)
{
    struct kafka *k = opaque;
    char text[CBT_ERR_TEXT_BYTES];
    if (code == RD_KAFKA_RESP_ERR__FATAL) {
        rd_kafka_fatal_error(producer, text, sizeof(text));
        cbt_log_error("the Kafka producer failed for good and is replaced",
                      CBT_S("sink", k->context.config->name), CBT_S("reason", text));
        kafka_want_recovery(k, "fatal producer error", true);
    } else if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
        kafka_set_down(k, true, reason);
    }
}
