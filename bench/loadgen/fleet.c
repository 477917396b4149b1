/* SPDX-License-Identifier: MIT */
/* The plan is a round through the endpoints, message by message, each with a size drawn from the seed. */
#include "fleet.h"

#include <sensor_events.pb-c.h>

#define BUNDLE_EVENTS  716u /* of the one real bundle that was measured */
#define ZIP_EVENTS_MAX 66u  /* of the real zips seen */

void cbt_plan_start(struct cbt_plan *plan, const struct cbt_fleet_options *options)
{
    *plan = (struct cbt_plan){.options = *options, .random = {cbt_random_mix(options->seed)}};
}

static uint32_t draw_events(struct cbt_plan *plan)
{
    const struct cbt_fleet_options *o = &plan->options;
    if (o->events_max)
        return o->events_min + cbt_random_below(&plan->random, o->events_max - o->events_min + 1);
    if (o->shape == CBT_SHAPE_BUNDLE)
        return BUNDLE_EVENTS;
    if (o->shape != CBT_SHAPE_ZIP)
        return 1;
    /* The smaller of two draws: many small ones, a few of 60 and more, 22 in the mean. */
    const uint32_t a = cbt_random_below(&plan->random, ZIP_EVENTS_MAX);
    const uint32_t b = cbt_random_below(&plan->random, ZIP_EVENTS_MAX);
    return 1 + (a < b ? a : b);
}

bool cbt_plan_next(struct cbt_plan *plan, uint32_t *ret_endpoint, uint32_t *ret_events)
{
    const struct cbt_fleet_options *o = &plan->options;
    uint32_t events = draw_events(plan);
    if (o->events) {
        if (plan->planned >= o->events)
            return false;
        if (events > o->events - plan->planned)
            events = (uint32_t)(o->events - plan->planned);
    }
    plan->planned += events;
    *ret_endpoint = plan->next;
    *ret_events = events;
    plan->next = plan->next + 1 == o->endpoints ? 0 : plan->next + 1;
    return true;
}

void cbt_plan_totals(const struct cbt_fleet_options *options, uint64_t *ret_totals)
{
    struct cbt_plan plan;
    uint32_t endpoint, events;
    memset(ret_totals, 0, options->endpoints * sizeof(*ret_totals));
    cbt_plan_start(&plan, options);
    while (options->events && cbt_plan_next(&plan, &endpoint, &events))
        ret_totals[endpoint] += events;
}

enum cbt_os cbt_endpoint_os(uint32_t endpoint)
{
    return endpoint % 5 == 4 ? CBT_OS_LINUX : CBT_OS_WINDOWS;
}

int64_t cbt_endpoint_host_id(uint32_t sensor_id)
{
    return INT64_C(0x100000000) + sensor_id; /* beyond 32 bits, so that a cut one shows */
}

void cbt_endpoint_name(uint32_t endpoint, char ret_name[CBT_ENDPOINT_NAME_BYTES])
{
    static const char *const places[] = {"FRA", "LON", "NYC", "SFO", "SIN", "WAW"};
    const char *place = places[endpoint / 5 % (sizeof(places) / sizeof(places[0]))];
    snprintf(ret_name, CBT_ENDPOINT_NAME_BYTES, "%s-%s-%06u", place,
             cbt_endpoint_os(endpoint) == CBT_OS_LINUX ? "SRV" : "WS", endpoint);
}

uint64_t cbt_endpoint_filetime(uint32_t endpoint, uint64_t sequence)
{
    return CBT_FLEET_EPOCH_FILETIME + sequence * CBT_FLEET_TICKS +
           cbt_random_mix(endpoint + 1) % CBT_FLEET_TICKS;
}

void cbt_endpoint_put_env(struct cbt_bytes *out, int32_t sensor_id, const char *host_name, int64_t host_id,
                          int32_t node_id)
{
    CbEndpointEnvironmentMsg endpoint = CB_ENDPOINT_ENVIRONMENT_MSG__INIT;
    CbServerEnvironmentMsg server = CB_SERVER_ENVIRONMENT_MSG__INIT;
    CbEnvironmentMsg env = CB_ENVIRONMENT_MSG__INIT;
    union {
        const char *in;
        uint8_t *out;
    } name = {host_name}; /* protobuf-c's type has no const; packing only reads */
    endpoint.has_sensorid = endpoint.has_sensorhostname = endpoint.has_hostid = server.has_nodeid = true;
    endpoint.sensorid = sensor_id;
    endpoint.sensorhostname.data = name.out;
    endpoint.sensorhostname.len = strlen(host_name);
    endpoint.hostid = host_id;
    server.nodeid = node_id;
    env.endpoint = &endpoint;
    env.server = &server;

    /* protobuf-c packs a message without the tag and length that make it a field: they are put here. */
    size_t len = cb_environment_msg__get_packed_size(&env);
    uint8_t *at = cbt_bytes_reserve(out, len + 6), *p = at;
    *p++ = 13 << 3 | 2;
    for (size_t left = len; left; left >>= 7)
        *p++ = (uint8_t)(left > 0x7f ? left | 0x80 : left);
    p += cb_environment_msg__pack(&env, p);
    out->len += (size_t)(p - at);
}
