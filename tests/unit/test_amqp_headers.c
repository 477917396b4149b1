/* SPDX-License-Identifier: MIT */
/* Header values: every integer width and decimal text is read, everything else is left out and counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ingest/source_amqp.h"

static amqp_bytes_t bytes(const char *s)
{
    return amqp_cstring_bytes(s);
}

static unsigned read_one(const char *key, amqp_field_value_t value, struct cbt_environment *ret_env)
{
    amqp_table_entry_t entry = {.key = bytes(key), .value = value};
    amqp_table_t table = {.num_entries = 1, .entries = &entry};
    return cbt_amqp_read_headers(&table, ret_env);
}

#define VALUE(KIND, member, x) ((amqp_field_value_t){.kind = AMQP_FIELD_KIND_##KIND, .value.member = (x)})

static void integers_of_every_width_are_read(void **state)
{
    (void)state;
    const struct {
        amqp_field_value_t value;
        int64_t expected;
    } cases[] = {
        {VALUE(I8, i8, -7), -7},
        {VALUE(U8, u8, 200), 200},
        {VALUE(I16, i16, -30000), -30000},
        {VALUE(U16, u16, 60000), 60000},
        {VALUE(I32, i32, INT32_MIN), INT32_MIN},
        {VALUE(U32, u32, INT32_MAX), INT32_MAX},
        {VALUE(I64, i64, INT32_MAX), INT32_MAX},
        {VALUE(U64, u64, 7), 7},
        {VALUE(UTF8, bytes, bytes("2147483647")), INT32_MAX},
        {VALUE(UTF8, bytes, bytes("-2147483648")), INT32_MIN},
        {VALUE(UTF8, bytes, bytes("+7")), 7},
        {VALUE(BYTES, bytes, bytes("007")), 7},
        {VALUE(UTF8, bytes, bytes("0")), 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct cbt_environment env;
        assert_int_equal(read_one("sensorId", cases[i].value, &env), 0);
        assert_true(env.has_sensor_id);
        assert_int_equal(env.sensor_id, cases[i].expected);
        assert_false(env.has_node_id || env.has_host_id || env.has_host_name);
        assert_int_equal(read_one("nodeId", cases[i].value, &env), 0);
        assert_true(env.has_node_id);
        assert_int_equal(env.node_id, cases[i].expected);
        assert_int_equal(read_one("hostId", cases[i].value, &env), 0);
        assert_true(env.has_host_id);
        assert_int_equal(env.host_id, cases[i].expected);
    }
}

static void host_id_has_64_bits(void **state)
{
    (void)state;
    struct cbt_environment env;
    assert_int_equal(read_one("hostId", VALUE(I64, i64, INT64_MIN), &env), 0);
    assert_true(env.host_id == INT64_MIN);
    assert_int_equal(read_one("hostId", VALUE(UTF8, bytes, bytes("-9223372036854775808")), &env), 0);
    assert_true(env.host_id == INT64_MIN);
    assert_int_equal(read_one("hostId", VALUE(UTF8, bytes, bytes("9223372036854775807")), &env), 0);
    assert_true(env.host_id == INT64_MAX);
    assert_int_equal(read_one("hostId", VALUE(U64, u64, INT64_MAX), &env), 0);
    assert_true(env.host_id == INT64_MAX);
    assert_int_equal(read_one("hostId", VALUE(U64, u64, (uint64_t)INT64_MAX + 1), &env), 1);
    assert_false(env.has_host_id);
    assert_int_equal(read_one("hostId", VALUE(UTF8, bytes, bytes("9223372036854775808")), &env), 1);
    assert_int_equal(read_one("hostId", VALUE(UTF8, bytes, bytes("-9223372036854775809")), &env), 1);
    assert_false(env.has_host_id);
}

static void what_is_no_integer_is_left_out_and_counted(void **state)
{
    (void)state;
    const amqp_field_value_t values[] = {
        VALUE(UTF8, bytes, bytes("")),
        VALUE(UTF8, bytes, bytes("-")),
        VALUE(UTF8, bytes, bytes("7 ")),
        VALUE(UTF8, bytes, bytes(" 7")),
        VALUE(UTF8, bytes, bytes("0x7")),
        VALUE(UTF8, bytes, bytes("7.0")),
        VALUE(UTF8, bytes, bytes("seven")),
        VALUE(UTF8, bytes, bytes("--7")),
        VALUE(UTF8, bytes, bytes("99999999999999999999999999999999999999")),
        VALUE(UTF8, bytes, bytes("2147483648")),
        VALUE(BYTES, bytes, amqp_empty_bytes),
        VALUE(U32, u32, UINT32_MAX),
        VALUE(I64, i64, (int64_t)INT32_MAX + 1),
        VALUE(I64, i64, (int64_t)INT32_MIN - 1),
        VALUE(U64, u64, UINT64_MAX),
        VALUE(TIMESTAMP, u64, 7),
        VALUE(F32, f32, 7),
        VALUE(F64, f64, 7),
        VALUE(BOOLEAN, boolean, 1),
        {.kind = AMQP_FIELD_KIND_DECIMAL, .value.decimal = {.decimals = 0, .value = 7}},
        {.kind = AMQP_FIELD_KIND_TABLE, .value.table = {.num_entries = 0}},
        {.kind = AMQP_FIELD_KIND_ARRAY, .value.array = {.num_entries = 0}},
        {.kind = 0},
    };
    for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
        struct cbt_environment env;
        assert_int_equal(read_one("sensorId", values[i], &env), 1);
        assert_false(env.has_sensor_id);
        assert_int_equal(env.sensor_id, 0);
    }
}

static void an_empty_value_is_no_value_and_no_fault(void **state)
{
    (void)state;
    struct cbt_environment env;
    assert_int_equal(read_one("sensorId", (amqp_field_value_t){.kind = AMQP_FIELD_KIND_VOID}, &env), 0);
    assert_false(env.has_sensor_id);
    assert_int_equal(read_one("sensorHostName", (amqp_field_value_t){.kind = AMQP_FIELD_KIND_VOID}, &env), 0);
    assert_false(env.has_host_name);
}

static void host_name_is_text_of_bounded_length(void **state)
{
    (void)state;
    struct cbt_environment env;
    char name[CBT_AMQP_HOST_NAME_BYTES_MAX + 2];
    memset(name, 'h', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(read_one("sensorHostName", VALUE(UTF8, bytes, bytes(name)), &env), 1);
    assert_false(env.has_host_name);
    assert_int_equal(read_one("sensorHostName", VALUE(UTF8, bytes, bytes(name + 1)), &env), 0);
    assert_true(env.has_host_name);
    assert_int_equal(env.host_name.len, CBT_AMQP_HOST_NAME_BYTES_MAX);
    assert_ptr_equal(env.host_name.data, name + 1);
    assert_int_equal(read_one("sensorHostName", VALUE(I32, i32, 7), &env), 1);
    assert_false(env.has_host_name);
    assert_int_equal(read_one("sensorHostName", VALUE(BYTES, bytes, amqp_empty_bytes), &env), 0);
    assert_true(env.has_host_name);
    assert_int_equal(env.host_name.len, 0);
}

static void other_headers_are_nobodys_business(void **state)
{
    (void)state;
    struct cbt_environment env;
    assert_int_equal(read_one("sensorid", VALUE(UTF8, bytes, bytes("x")), &env), 0);
    assert_int_equal(read_one("sensorIdx", VALUE(UTF8, bytes, bytes("x")), &env), 0);
    assert_int_equal(read_one("", VALUE(UTF8, bytes, bytes("x")), &env), 0);
    assert_false(env.has_sensor_id);
}

static void one_fault_does_not_cost_the_others(void **state)
{
    (void)state;
    amqp_table_entry_t entries[] = {
        {.key = bytes("sensorId"), .value = VALUE(UTF8, bytes, bytes("x"))},
        {.key = bytes("hostId"), .value = VALUE(I64, i64, 5)},
        {.key = bytes("nodeId"), .value = VALUE(F64, f64, 1.5)},
        {.key = bytes("sensorHostName"), .value = VALUE(UTF8, bytes, bytes("host-7"))},
    };
    amqp_table_t table = {.num_entries = 4, .entries = entries};
    struct cbt_environment env;
    assert_int_equal(cbt_amqp_read_headers(&table, &env), 2);
    assert_true(!env.has_sensor_id && env.has_host_id && !env.has_node_id && env.has_host_name);
    assert_int_equal(env.host_id, 5);
    assert_memory_equal(env.host_name.data, "host-7", 6);
    assert_int_equal(cbt_amqp_read_headers(&amqp_empty_table, &env), 0);
    assert_false(env.has_host_id);
}

/* One table `sensorId: value`, value with its type, as it stands on the wire. */
static int decode(uint8_t wire[64], const char *value, size_t len, amqp_pool_t *pool, amqp_table_t *ret_table)
{
    const uint8_t begin[] = {0, 0, 0, (uint8_t)(9 + len), 8, 's', 'e', 'n', 's', 'o', 'r', 'I', 'd'};
    size_t offset = 0;
    memcpy(wire, begin, sizeof(begin));
    memcpy(wire + 13, value, len);
    return amqp_decode_table((amqp_bytes_t){.len = 13 + len, .bytes = wire}, pool, ret_table, &offset);
}

/* RabbitMQ's types (its "AMQP 0-9-1 errata"), which its clients write. */
static void integers_are_read_as_they_come_over_the_wire(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        size_t len;
        int32_t expected;
    } cases[] = {
#define WIRE(literal) (literal), sizeof(literal) - 1
        {WIRE("b\xF9"), -7},
        {WIRE("B\xF9"), 249},
        {WIRE("s\xFF\xF9"), -7},
        {WIRE("u\xFF\xF9"), 65529},
        {WIRE("I\xFF\xFF\xFF\xF9"), -7},
        {WIRE("i\x7F\xFF\xFF\xFF"), INT32_MAX},
        {WIRE("l\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xF9"), -7},
        {WIRE("L\0\0\0\0\x7F\xFF\xFF\xFF"), INT32_MAX},
        {WIRE("S\0\0\0\2-7"), -7},
        {WIRE("x\0\0\0\2-7"), -7},
#undef WIRE
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        amqp_pool_t pool;
        amqp_table_t table;
        struct cbt_environment env;
        uint8_t wire[64];
        init_amqp_pool(&pool, 1024);
        assert_int_equal(decode(wire, cases[i].value, cases[i].len, &pool, &table), 0);
        assert_int_equal(cbt_amqp_read_headers(&table, &env), 0);
        assert_true(env.has_sensor_id);
        assert_int_equal(env.sensor_id, cases[i].expected);
        empty_amqp_pool(&pool);
    }
}

/* Of two with one name the last counts, if it can be read. */
static void a_header_that_comes_twice_has_its_last_readable_value(void **state)
{
    (void)state;
    amqp_table_entry_t entries[] = {
        {.key = bytes("sensorId"), .value = VALUE(I32, i32, 5)},
        {.key = bytes("sensorId"), .value = VALUE(UTF8, bytes, bytes("6"))},
        {.key = bytes("sensorId"), .value = VALUE(UTF8, bytes, bytes("x"))},
        {.key = bytes("sensorId"), .value = {.kind = AMQP_FIELD_KIND_VOID}},
        {.key = bytes("sensorId"), .value = VALUE(BOOLEAN, boolean, 1)},
    };
    amqp_table_t table = {.num_entries = 5, .entries = entries};
    struct cbt_environment env;
    assert_int_equal(cbt_amqp_read_headers(&table, &env), 2); /* each value is counted */
    assert_true(env.has_sensor_id);
    assert_int_equal(env.sensor_id, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_of_every_width_are_read),
        cmocka_unit_test(host_id_has_64_bits),
        cmocka_unit_test(what_is_no_integer_is_left_out_and_counted),
        cmocka_unit_test(an_empty_value_is_no_value_and_no_fault),
        cmocka_unit_test(host_name_is_text_of_bounded_length),
        cmocka_unit_test(other_headers_are_nobodys_business),
        cmocka_unit_test(one_fault_does_not_cost_the_others),
        cmocka_unit_test(integers_are_read_as_they_come_over_the_wire),
        cmocka_unit_test(a_header_that_comes_twice_has_its_last_readable_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
