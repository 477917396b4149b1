/* SPDX-License-Identifier: MIT */
/*
 * Faults that no peer can cause from outside, for the daemon as it is: preloaded into it, this makes name
 * resolution fail while $CBTAP_FAULTS/dns is there, and makes the producer that has records fail for good
 * once for each time that $CBTAP_FAULTS/fatal is put there.
 */
#include <dlfcn.h>
#include <librdkafka/rdkafka.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool path_of(char *path, size_t size, const char *fault)
{
    const char *folder = getenv("CBTAP_FAULTS");
    return folder != NULL && snprintf(path, size, "%s/%s", folder, fault) < (int)size;
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *req, struct addrinfo **pai)
{
    char path[4096];
    if (path_of(path, sizeof(path), "dns") && access(path, F_OK) == 0)
        return EAI_AGAIN;
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(name, service, req, pai);
}

int rd_kafka_poll(rd_kafka_t *rk, int timeout_ms)
{
    char path[4096];
    if (rd_kafka_type(rk) == RD_KAFKA_PRODUCER && rd_kafka_outq_len(rk) > 0 &&
        path_of(path, sizeof(path), "fatal") && unlink(path) == 0)
        rd_kafka_test_fatal_error(rk, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "made by the test");
    int (*real)(rd_kafka_t *, int);
    *(void **)&real = dlsym(RTLD_NEXT, "rd_kafka_poll");
    return real(rk, timeout_ms);
}
