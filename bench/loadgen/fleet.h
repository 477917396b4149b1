/* SPDX-License-Identifier: MIT */
/* The synthetic endpoints, and the plan of which of them sends how many events next. The plan depends on its
 * options alone, so that `verify` knows what `publish` sent. */
#ifndef CBT_LOADGEN_FLEET_H
#define CBT_LOADGEN_FLEET_H

#include <stdbool.h>

#include "bytes.h"
#include "names.h"
#include "random.h"

/* Event 0 of every endpoint happened in the second that begins here: 2024-01-01T00:00:00Z. */
#define CBT_FLEET_EPOCH_UNIX     INT64_C(1704067200)
#define CBT_FLEET_TICKS          UINT64_C(10000000) /* of a FILETIME in a second */
#define CBT_FLEET_EPOCH_FILETIME ((uint64_t)(CBT_FLEET_EPOCH_UNIX + 11644473600) * CBT_FLEET_TICKS)

enum cbt_shape { CBT_SHAPE_AUTO, CBT_SHAPE_ZIP, CBT_SHAPE_BUNDLE, CBT_SHAPE_EVENT };

struct cbt_fleet_options {
    enum cbt_shape shape; /* not AUTO */
    uint64_t seed;
    uint64_t events; /* in all; 0: no end */
    uint32_t endpoints;
    uint32_t events_min, events_max; /* of a message; 0, 0: as the shape has it */
    uint64_t start;                  /* sequence number of each endpoint's first event */
    uint32_t first_sensor_id;
};

struct cbt_plan {
    struct cbt_fleet_options options;
    struct cbt_random random;
    uint64_t planned;
    uint32_t next;
};

void cbt_plan_start(struct cbt_plan *plan, const struct cbt_fleet_options *options);

/* The next message: which endpoint sends it, and how many events it holds. False when all are planned. */
bool cbt_plan_next(struct cbt_plan *plan, uint32_t *ret_endpoint, uint32_t *ret_events);

/* How many events each endpoint sends in the whole plan: `options->endpoints` numbers. Needs an end. */
void cbt_plan_totals(const struct cbt_fleet_options *options, uint64_t *ret_totals);

enum cbt_os cbt_endpoint_os(uint32_t endpoint);
int64_t cbt_endpoint_host_id(uint32_t sensor_id);

#define CBT_ENDPOINT_NAME_BYTES 32
void cbt_endpoint_name(uint32_t endpoint, char ret_name[CBT_ENDPOINT_NAME_BYTES]);

/* FILETIME of an endpoint's event: one second on from event to event, at the endpoint's own fraction of a
 * second. */
uint64_t cbt_endpoint_filetime(uint32_t endpoint, uint64_t sequence);

/* Appends field 13 of CbEventMsg, `env`, as the server fills it in. */
void cbt_endpoint_put_env(struct cbt_bytes *out, int32_t sensor_id, const char *host_name, int64_t host_id,
                          int32_t node_id);

#endif
