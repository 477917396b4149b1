/* SPDX-License-Identifier: MIT */
/* Rings and alarms: nothing lost, nothing reordered, no wake lost, between two real threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include "cbtap/clock.h"
#include "cbtap/ring.h"

#define ITEMS 200000

struct pair {
    struct cbt_ring there, back;
    struct cbt_alarm consumer, producer;
};

static void ring_holds_at_least_what_was_asked_and_then_refuses(void **state)
{
    (void)state;
    int item;
    for (size_t asked = 1; asked < 70; asked++) {
        struct cbt_ring ring;
        assert_int_equal(cbt_ring_init(&ring, asked, NULL), 0);
        size_t held = 0;
        while (cbt_ring_push(&ring, &item))
            held++;
        assert_true(held >= asked);
        assert_true(cbt_ring_used_ratio(&ring) > 0.7);
        while (held-- > 0)
            assert_ptr_equal(cbt_ring_pop(&ring), &item);
        assert_null(cbt_ring_pop(&ring));
        assert_true(cbt_ring_empty(&ring));
        cbt_ring_free(&ring);
    }
}

static void ring_of_absurd_size_is_an_error(void **state)
{
    (void)state;
    struct cbt_ring ring;
    struct cbt_err err = {0};
    assert_int_equal(cbt_ring_init(&ring, (size_t)1 << 40, &err), CBT_EINVAL);
}

/* Sends each item back, parking whenever there is none. */
static void *echo(void *arg)
{
    struct pair *p = arg;
    for (uintptr_t next = 1; next <= ITEMS;) {
        void *item = cbt_ring_pop(&p->there);
        if (item == NULL) {
            cbt_alarm_prepare(&p->consumer);
            if (cbt_ring_empty(&p->there))
                cbt_alarm_wait(&p->consumer, -1, -1); /* for ever: a lost wake hangs the test */
            else
                cbt_alarm_cancel(&p->consumer);
            continue;
        }
        if ((uintptr_t)item != next++)
            return item;
        while (!cbt_ring_push(&p->back, item))
            ;
        cbt_alarm_wake(&p->producer);
    }
    return NULL;
}

static void items_go_there_and_back_in_order_without_a_lost_wake(void **state)
{
    (void)state;
    struct pair p = {0};
    assert_int_equal(cbt_ring_init(&p.there, 64, NULL), 0);
    assert_int_equal(cbt_ring_init(&p.back, 64, NULL), 0);
    assert_int_equal(cbt_alarm_init(&p.consumer, NULL), 0);
    assert_int_equal(cbt_alarm_init(&p.producer, NULL), 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, echo, &p), 0);
    uintptr_t sent = 0, got = 0;
    while (got < ITEMS) {
        /* Bursts of changing length, so that both sides park and overrun in turn. */
        for (uintptr_t burst = sent % 7; burst < 9 && sent < ITEMS && sent - got < 60; burst++) {
            assert_true(cbt_ring_push(&p.there, (void *)(sent + 1)));
            sent++;
        }
        cbt_alarm_wake(&p.consumer);
        cbt_alarm_prepare(&p.producer);
        if (cbt_ring_empty(&p.back))
            cbt_alarm_wait(&p.producer, -1, -1);
        else
            cbt_alarm_cancel(&p.producer);
        void *item;
        while ((item = cbt_ring_pop(&p.back)) != NULL)
            assert_int_equal((uintptr_t)item, ++got);
    }
    void *wrong = NULL;
    pthread_join(thread, &wrong);
    assert_null(wrong);
    cbt_ring_free(&p.there);
    cbt_ring_free(&p.back);
    cbt_alarm_free(&p.consumer);
    cbt_alarm_free(&p.producer);
}

static void alarm_times_out_and_sees_a_readable_descriptor(void **state)
{
    (void)state;
    struct cbt_alarm alarm, other;
    assert_int_equal(cbt_alarm_init(&alarm, NULL), 0);
    assert_int_equal(cbt_alarm_init(&other, NULL), 0);
    int64_t start = cbt_now_ns();
    cbt_alarm_prepare(&alarm);
    assert_false(cbt_alarm_wait(&alarm, other.fd, 20));
    assert_true(cbt_now_ns() - start >= 19 * 1000000);
    cbt_alarm_prepare(&other);
    cbt_alarm_wake(&other); /* makes other.fd readable */
    cbt_alarm_prepare(&alarm);
    assert_true(cbt_alarm_wait(&alarm, other.fd, -1));
    cbt_alarm_free(&alarm);
    cbt_alarm_free(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ring_holds_at_least_what_was_asked_and_then_refuses),
        cmocka_unit_test(ring_of_absurd_size_is_an_error),
        cmocka_unit_test(items_go_there_and_back_in_order_without_a_lost_wake),
        cmocka_unit_test(alarm_times_out_and_sees_a_readable_descriptor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
