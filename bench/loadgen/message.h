/* SPDX-License-Identifier: MIT */
/* A message as a server would publish it, and the two feeds that messages come from: a synthetic fleet, and
 * files. */
#ifndef CBT_LOADGEN_MESSAGE_H
#define CBT_LOADGEN_MESSAGE_H

#include "cbtap/err.h"
#include "cbtap/text.h"
#include "fleet.h"

struct cbt_message {
    struct cbt_text body;
    const char *content_type;
    const char *key; /* "ingress.event.moduleload", "watchlist.hit.process"; "" for a sensor event log */
    uint32_t events;
    bool has_environment; /* the rest is known: it becomes AMQP headers (of a sensor event log) */
    int32_t sensor_id;
    int32_t node_id;
    int64_t host_id;
    const char *host_name;
};

/* A sensor event log goes to api.rawsensordata, all else to api.events. */
static inline bool cbt_message_is_log(const struct cbt_message *message)
{
    return !message->key[0];
}

struct cbt_feed_options {
    struct cbt_fleet_options fleet;
    int zip_level;
    const char *const *files; /* NULL-terminated: replay these; NULL: a synthetic fleet */
    enum cbt_shape shape;     /* of what is replayed; AUTO: as it is in the file */
    bool has_environment;     /* what replayed messages say of themselves */
    int32_t sensor_id;
    int32_t node_id;
    int64_t host_id;
    const char *host_name;
};

struct cbt_feed;

int cbt_feed_open(struct cbt_feed **ret_feed, const struct cbt_feed_options *options, struct cbt_err *err);

/* The next message, valid until the next call; false at the end. */
bool cbt_feed_next(struct cbt_feed *feed, struct cbt_message *ret_message);

/* Events that the whole feed holds; 0: it has no end. */
uint64_t cbt_feed_events(const struct cbt_feed *feed);
void cbt_feed_close(struct cbt_feed *feed);

#endif
