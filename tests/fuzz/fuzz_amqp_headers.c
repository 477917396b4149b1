/* SPDX-License-Identifier: MIT */
/* The headers of a message, from the table's bytes on the wire: each header counts by itself, the last of
 * equal ones, and integers in decimal are read as strtoll reads them. */
#include <errno.h>

#include "fuzz.h"
#include "ingest/source_amqp.h"

static bool equal(const struct cbt_environment *a, const struct cbt_environment *b)
{
    return a->has_sensor_id == b->has_sensor_id && a->sensor_id == b->sensor_id &&
           a->has_host_id == b->has_host_id && a->host_id == b->host_id && a->has_node_id == b->has_node_id &&
           a->node_id == b->node_id && a->has_host_name == b->has_host_name &&
           a->host_name.data == b->host_name.data && a->host_name.len == b->host_name.len;
}

/* What the header of one name says, over what others said. */
static void put_over(struct cbt_environment *env, const struct cbt_environment *one)
{
    if (one->has_sensor_id)
        env->sensor_id = one->sensor_id;
    if (one->has_host_id)
        env->host_id = one->host_id;
    if (one->has_node_id)
        env->node_id = one->node_id;
    if (one->has_host_name)
        env->host_name = one->host_name;
    env->has_sensor_id |= one->has_sensor_id;
    env->has_host_id |= one->has_host_id;
    env->has_node_id |= one->has_node_id;
    env->has_host_name |= one->has_host_name;
}

/* cbt_amqp_parse_integer takes a sign and digits; strtoll must find the same number, and no other fault. */
static void check_integer(amqp_bytes_t bytes)
{
    struct cbt_text text = cbt_amqp_text(bytes);
    int64_t value = 0;
    bool taken = cbt_amqp_parse_integer(text, &value);
    char copy[256];
    if (text.len >= sizeof copy)
        return;
    if (text.len > 0)
        memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    size_t sign = copy[0] == '-' || copy[0] == '+';
    bool digits = text.len > sign && strspn(copy + sign, "0123456789") == text.len - sign;
    errno = 0;
    long long expected = strtoll(copy, NULL, 10);
    FUZZ_CHECK(taken == (digits && errno == 0), "\"%s\" is taken: %d", copy, taken);
    FUZZ_CHECK(!taken || value == expected, "\"%s\" is %lld", copy, (long long)value);
}

static void check_table(const amqp_table_t *table, struct cbt_text wire)
{
    struct cbt_environment all, one, expected = {0};
    unsigned unreadable = cbt_amqp_read_headers(table, &all), sum = 0;
    for (int i = 0; i < table->num_entries; i++) {
        const amqp_table_t alone = {.num_entries = 1, .entries = &table->entries[i]};
        unsigned n = cbt_amqp_read_headers(&alone, &one);
        FUZZ_CHECK(n <= 1, "%u unreadable of one", n);
        put_over(&expected, &one);
        sum += n;
        uint8_t kind = table->entries[i].value.kind;
        if (kind == AMQP_FIELD_KIND_UTF8 || kind == AMQP_FIELD_KIND_BYTES)
            check_integer(table->entries[i].value.value.bytes);
    }
    FUZZ_CHECK(unreadable == sum, "%u unreadable, one by one %u", unreadable, sum);
    FUZZ_CHECK(equal(&all, &expected), "not what the headers say one by one");
    if (all.has_host_name && all.host_name.len > 0)
        FUZZ_CHECK(all.host_name.len <= CBT_AMQP_HOST_NAME_BYTES_MAX && all.host_name.data >= wire.data &&
                       all.host_name.data + all.host_name.len <= wire.data + wire.len,
                   "a host name of %zu bytes", all.host_name.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    amqp_bytes_t encoded = {.len = size, .bytes = (void *)data};
    amqp_pool_t pool;
    amqp_table_t table;
    size_t offset = 0;
    init_amqp_pool(&pool, 4096);
    if (amqp_decode_table(encoded, &pool, &table, &offset) == AMQP_STATUS_OK)
        check_table(&table, (struct cbt_text){data, size});
    empty_amqp_pool(&pool);
    return 0;
}
