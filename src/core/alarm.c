/* SPDX-License-Identifier: MIT */
/*
 * Parking on an eventfd. The owner sets `parked`, looks at its rings once more, and polls; a waker pushes,
 * and writes the eventfd only if it finds `parked` set. Both sides have a full fence between their store and
 * their load (Dekker), so that either the owner sees the item or the waker sees `parked`.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cbtap/ring.h"

int cbt_alarm_init(struct cbt_alarm *alarm, struct cbt_err *err)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return cbt_err_set(err, CBT_EIO, "eventfd: %s", strerror(errno));
    alarm->fd = fd;
    alarm->parked = 0;
    return CBT_OK;
}

void cbt_alarm_free(struct cbt_alarm *alarm)
{
    if (alarm == NULL || alarm->fd < 0)
        return;
    close(alarm->fd);
    alarm->fd = -1;
}

void cbt_alarm_wake(struct cbt_alarm *alarm)
{
    ck_pr_fence_memory();
    if (ck_pr_load_uint(&alarm->parked) == 0 || ck_pr_fas_uint(&alarm->parked, 0) == 0)
        return;
    uint64_t one = 1;
    /* It can only fail when the counter is about to overflow, and then the owner is awake anyway. */
    ssize_t n = write(alarm->fd, &one, sizeof(one));
    (void)n;
}

void cbt_alarm_prepare(struct cbt_alarm *alarm)
{
    ck_pr_store_uint(&alarm->parked, 1);
    ck_pr_fence_memory();
}

void cbt_alarm_cancel(struct cbt_alarm *alarm)
{
    ck_pr_store_uint(&alarm->parked, 0);
}

bool cbt_alarm_wait(struct cbt_alarm *alarm, int fd, int timeout_ms)
{
    struct pollfd fds[2] = {{.fd = alarm->fd, .events = POLLIN}, {.fd = fd, .events = POLLIN | POLLRDHUP}};
    int n = poll(fds, fd < 0 ? 1 : 2, timeout_ms);
    ck_pr_store_uint(&alarm->parked, 0);
    if (n <= 0)
        return false;
    if (fds[0].revents != 0) {
        uint64_t count;
        ssize_t got = read(alarm->fd, &count, sizeof(count));
        (void)got;
    }
    return fd >= 0 && fds[1].revents != 0;
}
