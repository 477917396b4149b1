/* SPDX-License-Identifier: MIT */
/*
 * TLS files that were renewed: librdkafka reads them when an instance is made, so new ones need a new
 * producer.
 *
 * Happy path: at SIGHUP, files that are others than before are tried in an instance that connects to nobody;
 * then the delivery thread replaces the producer as after an error (kafka_recover.c): in order, and what is
 * under way has its answer first. Failure: files that cannot be used are said, and the producer at hand goes
 * on.
 */
#include <stdint.h>
#include <sys/stat.h>

#include "cbtap/log.h"
#include "sink/kafka.h"

/* librdkafka's properties that name files. */
static const char *const files[] = {"ssl.ca.location", "ssl.certificate.location", "ssl.key.location",
                                    "ssl.keystore.location", "ssl.crl.location"};

static uint64_t mix(uint64_t sum, uint64_t value)
{
    return (sum ^ value) * UINT64_C(0x9E3779B97F4A7C15) ^ sum >> 29;
}

uint64_t kafka_files_sum(const struct cbt_sink_config *config)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        const char *path = cbt_map_get(&config->kafka.kafka, files[i]);
        struct stat st = {0};
        if (path == NULL || path[0] == '\0')
            continue;
        /* One that is missing counts as another than the one that was there. */
        if (stat(path, &st) != 0)
            st = (struct stat){0};
        sum = mix(sum + i + 1, (uint64_t)st.st_ino);
        sum = mix(sum, (uint64_t)st.st_size);
        sum = mix(sum, (uint64_t)st.st_mtim.tv_sec);
        sum = mix(sum, (uint64_t)st.st_mtim.tv_nsec);
    }
    return sum;
}

void kafka_reload(void *self)
{
    struct kafka *k = self;
    struct cbt_err err = {0};
    uint64_t sum = kafka_files_sum(k->context.config);
    if (sum == k->files_sum)
        return;
    if (kafka_check_whole(k->context.config, k->context.options, &err) != 0) {
        cbt_log_error(
            "the TLS files have changed and cannot be used; Kafka is spoken to with the old ones: mend "
            "them and send SIGHUP again",
            CBT_S("sink", k->name), CBT_S("reason", err.text));
        return;
    }
    k->files_sum = sum;
    cbt_log_info("the TLS files have changed: Kafka is connected to anew", CBT_S("sink", k->name));
    atomic_store(&k->renew_wanted, true);
    kafka_wake(k);
}
