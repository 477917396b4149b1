/* SPDX-License-Identifier: MIT */
/* Makes messages by copying events of the pool and patching their time stamp. */
#include "generate.h"

#include "pool.h"
#include "zip_writer.h"

#define ENTRY_NAME "EventLog.log"

struct endpoint {
    uint64_t sequence;    /* of its next event */
    uint32_t pool_offset; /* so that no two endpoints send the same */
    char name[CBT_ENDPOINT_NAME_BYTES];
};

struct cbt_generator {
    struct cbt_plan plan;
    struct cbt_pool *pools[2];
    struct endpoint *endpoints;
    struct libdeflate_compressor *compressor;
    struct cbt_bytes bundle, zip, env;
    char key[64];
};

int cbt_generator_new(struct cbt_generator **ret_generator, const struct cbt_fleet_options *options,
                      int zip_level, struct cbt_err *err)
{
    struct cbt_generator *g = cbt_bytes_checked(calloc(1, sizeof(*g)));
    cbt_plan_start(&g->plan, options);
    g->pools[CBT_OS_WINDOWS] = cbt_pool_new(options->seed, CBT_OS_WINDOWS);
    g->pools[CBT_OS_LINUX] = cbt_pool_new(options->seed, CBT_OS_LINUX);
    g->compressor = libdeflate_alloc_compressor(zip_level);
    if (!g->compressor) {
        cbt_generator_free(g);
        return cbt_err_set(err, CBT_EINVAL, "libdeflate knows no compression level %d", zip_level);
    }
    g->endpoints = cbt_bytes_checked(calloc(options->endpoints, sizeof(*g->endpoints)));
    for (uint32_t i = 0; i < options->endpoints; i++) {
        g->endpoints[i].sequence = options->start;
        g->endpoints[i].pool_offset = (uint32_t)(cbt_random_mix(options->seed ^ i) % CBT_POOL_EVENTS);
        cbt_endpoint_name(i, g->endpoints[i].name);
    }
    *ret_generator = g;
    return 0;
}

static const struct cbt_pool_event *next_event(struct cbt_generator *g, uint32_t index,
                                               const uint8_t **ret_data, uint64_t *ret_filetime)
{
    struct endpoint *endpoint = &g->endpoints[index];
    const struct cbt_pool *pool = g->pools[cbt_endpoint_os(index)];
    const struct cbt_pool_event *event =
        &pool->events[(endpoint->pool_offset + endpoint->sequence) % CBT_POOL_EVENTS];
    *ret_data = pool->data.data + event->at;
    *ret_filetime = cbt_endpoint_filetime(index, endpoint->sequence++);
    return event;
}

static void make_bundle(struct cbt_generator *g, uint32_t index, uint32_t events)
{
    g->bundle.len = 0;
    for (uint32_t i = 0; i < events; i++) {
        const uint8_t *data;
        uint64_t filetime;
        const struct cbt_pool_event *event = next_event(g, index, &data, &filetime);
        cbt_bytes_reserve(&g->bundle, event->len + 4);
        cbt_bytes_put_u32(&g->bundle, event->len);
        uint8_t *record = g->bundle.data + g->bundle.len;
        memcpy(record, data, event->len);
        cbt_pool_put_timestamp(record + event->timestamp_at, filetime);
        g->bundle.len += event->len;
    }
}

/* One record with its environment, at the place where a serializer would have put it. */
static void make_event(struct cbt_generator *g, uint32_t index, const struct cbt_message *message)
{
    const uint8_t *data;
    uint64_t filetime;
    const struct cbt_pool_event *event = next_event(g, index, &data, &filetime);
    g->bundle.len = g->env.len = 0;
    cbt_endpoint_put_env(&g->env, message->sensor_id, message->host_name, message->host_id, message->node_id);
    cbt_bytes_put(&g->bundle, data, event->env_at);
    cbt_bytes_put(&g->bundle, g->env.data, g->env.len);
    cbt_bytes_put(&g->bundle, data + event->env_at, event->len - event->env_at);
    cbt_pool_put_timestamp(g->bundle.data + event->timestamp_at, filetime);
    snprintf(g->key, sizeof(g->key), "ingress.event.%s", event->type);
}

bool cbt_generator_next(struct cbt_generator *g, struct cbt_message *ret_message)
{
    const struct cbt_fleet_options *options = &g->plan.options;
    uint32_t index, events;
    if (!cbt_plan_next(&g->plan, &index, &events))
        return false;
    const uint32_t sensor_id = options->first_sensor_id + index;
    struct cbt_message message = {
        .content_type = "application/protobuf",
        .key = "",
        .events = events,
        .has_environment = true,
        .sensor_id = (int32_t)sensor_id,
        .host_id = cbt_endpoint_host_id(sensor_id),
        .host_name = g->endpoints[index].name,
    };
    if (options->shape == CBT_SHAPE_EVENT) {
        make_event(g, index, &message);
        message.key = g->key;
        message.body = cbt_bytes_text(&g->bundle);
    } else {
        make_bundle(g, index, events);
        message.body = cbt_bytes_text(&g->bundle);
    }
    if (options->shape == CBT_SHAPE_ZIP) {
        cbt_zip_write(g->compressor, ENTRY_NAME, message.body, &g->zip);
        message.body = cbt_bytes_text(&g->zip);
        message.content_type = "application/zip";
    }
    *ret_message = message;
    return true;
}

void cbt_generator_free(struct cbt_generator *g)
{
    if (!g)
        return;
    cbt_pool_free(g->pools[CBT_OS_WINDOWS]);
    cbt_pool_free(g->pools[CBT_OS_LINUX]);
    libdeflate_free_compressor(g->compressor);
    free(g->endpoints);
    cbt_bytes_free(&g->bundle);
    cbt_bytes_free(&g->zip);
    cbt_bytes_free(&g->env);
    free(g);
}
