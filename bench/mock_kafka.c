/* SPDX-License-Identifier: MIT */
/* An embedded Kafka for demonstrations: librdkafka's mock cluster, which speaks the real protocol from
 * memory. */
#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] = "usage: cbtap-mock-kafka [--brokers N] [--topic NAME[:PARTITIONS]]...\n"
                            "\n"
                            "Prints its bootstrap servers on standard output and serves on loopback until "
                            "SIGTERM or SIGINT. A topic that is\n"
                            "asked for is created, with 4 partitions where --topic does not say otherwise. "
                            "It keeps only the newest 5 MiB or so\n"
                            "of each partition, in memory: a demonstration, not a store.\n";

static int parse_count(const char *text, int *ret_count)
{
    char *end = NULL;
    errno = 0;
    long count = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || count < 1 || count > 1000)
        return -1;
    *ret_count = (int)count;
    return 0;
}

/* NAME or NAME:PARTITIONS */
static int create_topic(rd_kafka_mock_cluster_t *cluster, const char *text)
{
    char name[256];
    int partitions = 4;
    const char *colon = strchr(text, ':');
    size_t len = colon != NULL ? (size_t)(colon - text) : strlen(text);
    if (len == 0 || len >= sizeof(name) || (colon != NULL && parse_count(colon + 1, &partitions) != 0)) {
        fprintf(stderr, "error not a topic: NAME or NAME:PARTITIONS given=%s\n", text);
        return 2;
    }
    memcpy(name, text, len);
    name[len] = '\0';
    rd_kafka_resp_err_t rc = rd_kafka_mock_topic_create(cluster, name, partitions, 1);
    if (rc != RD_KAFKA_RESP_ERR_NO_ERROR) {
        fprintf(stderr, "error cannot create topic=%s reason=\"%s\"\n", name, rd_kafka_err2str(rc));
        return 1;
    }
    return 0;
}

static int serve(int brokers, char *const topics[], int topic_count, const sigset_t *signals)
{
    char text[256];
    int status = 1;
    rd_kafka_mock_cluster_t *cluster = NULL;
    rd_kafka_t *handle = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), text, sizeof(text));
    if (handle == NULL) {
        fprintf(stderr, "error cannot start librdkafka reason=\"%s\"\n", text);
        return 1;
    }
    cluster = rd_kafka_mock_cluster_new(handle, brokers);
    if (cluster == NULL) {
        fputs("error cannot start the mock cluster\n", stderr);
        goto out;
    }
    for (int i = 0; i < topic_count; i++)
        if ((status = create_topic(cluster, topics[i])) != 0)
            goto out;
    status = 1;
    if (printf("%s\n", rd_kafka_mock_cluster_bootstraps(cluster)) < 0 || fflush(stdout) != 0)
        goto out;
    int signal_number = 0;
    sigwait(signals, &signal_number);
    status = 0;
out:
    if (cluster != NULL)
        rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(handle);
    return status;
}

int main(int argc, char **argv)
{
    int brokers = 1, topic_count = 0;
    /* Blocked before librdkafka starts its threads, which inherit that: the signals wait for sigwait. */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(usage, stdout);
            return 0;
        }
        if (i + 1 < argc && strcmp(argv[i], "--topic") == 0) {
            argv[topic_count++] = argv[++i];
        } else if (i + 1 >= argc || strcmp(argv[i], "--brokers") != 0 ||
                   parse_count(argv[++i], &brokers) != 0) {
            fputs(usage, stderr);
            return 2;
        }
    }
    return serve(brokers, argv, topic_count, &signals);
}
