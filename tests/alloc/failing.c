/* SPDX-License-Identifier: MIT */
/*
 * The plan of failing allocations, in the file that CBTAP_ALLOC_CONTROL names. Allocates nothing, and calls
 * nothing that does: it stands before malloc.
 */
#include "failing.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct alloc_control *control;

/* By system calls: the functions may be those that are wrapped. */
__attribute__((constructor)) static void map_control(void)
{
    const char *path = getenv("CBTAP_ALLOC_CONTROL");
    if (path == NULL)
        return;
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    long at =
        fd < 0 ? -1 : syscall(SYS_mmap, NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == -1)
        _exit(126);
    syscall(SYS_close, fd);
    control = (struct alloc_control *)at;
}

bool alloc_fails(uint64_t site, const char *object)
{
    if (control == NULL)
        return false;
    uint64_t number = atomic_fetch_add(&control->calls, 1) + 1;
    uint64_t first = atomic_load(&control->first), last = atomic_load(&control->last);
    if (number <= ALLOC_SITES_MAX)
        atomic_store_explicit(&control->sites[number - 1], site, memory_order_relaxed);
    if (first == 0 || number < first || number > last)
        return false;
    strncpy(control->object, object, sizeof(control->object) - 1);
    atomic_fetch_add(&control->failed, 1);
    return true;
}
