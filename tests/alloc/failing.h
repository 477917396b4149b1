/* SPDX-License-Identifier: MIT */
/* Which allocation of the process fails, and where it was: a plan in a file that the test maps, too. */
#ifndef TESTS_ALLOC_FAILING_H
#define TESTS_ALLOC_FAILING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define ALLOC_SITES_MAX 8192

/* Shared with the test (alloc.py has its twin), which may set it anew at any time: `first` last. */
struct alloc_control {
    _Atomic uint64_t calls;       /* so far */
    _Atomic uint64_t first, last; /* numbers of the calls that fail, from 1 on; first 0: none */
    _Atomic uint64_t failed;      /* so far */
    char object[64];              /* the library whose call failed last; empty for the program */
    _Atomic uint64_t
        sites[ALLOC_SITES_MAX]; /* of each call, by its number less one: its return address in its object */
};

/* Counts a call; true where it is to fail. `site` is its return address, relative to where `object` is
 * loaded.
 * @thread any */
bool alloc_fails(uint64_t site, const char *object);

#endif
