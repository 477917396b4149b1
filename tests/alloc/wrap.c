/* SPDX-License-Identifier: MIT */
/*
 * Stands before every function by which cbtap's own code takes memory, threads or descriptors for memory
 * (wrapped.def; the linker's --wrap): fails those calls that the plan names, as the system would. Libraries
 * keep their own.
 */
#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "failing.h"

extern const char __executable_start; /* the linker's */

static bool fails(const void *site)
{
    return alloc_fails((uint64_t)((const char *)site - &__executable_start), "");
}

#define WRAP(type, name, failure, parameters, arguments)                                                     \
    type __real_##name parameters;                                                                           \
    type __wrap_##name parameters;                                                                           \
    type __wrap_##name parameters                                                                            \
    {                                                                                                        \
        if (!fails(__builtin_return_address(0)))                                                             \
            return __real_##name arguments;                                                                  \
        errno = ENOMEM;                                                                                      \
        return failure;                                                                                      \
    }
typedef int compare_fn(const struct dirent **, const struct dirent **);
typedef int filter_fn(const struct dirent *);
typedef void *thread_fn(void *);
#include "wrapped.def"

/* Without a real one of their own: its variable arguments could not be handed on. */
__attribute__((format(printf, 2, 3))) int __wrap_asprintf(char **text, const char *format, ...);
__attribute__((format(printf, 3, 4))) int __wrap___asprintf_chk(char **text, int flag, const char *format,
                                                                ...);

__attribute__((format(printf, 2, 0))) static int put(char **text, const char *format, va_list arguments,
                                                     const void *site)
{
    if (!fails(site))
        return vasprintf(text, format, arguments);
    errno = ENOMEM;
    return -1;
}

int __wrap_asprintf(char **text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int len = put(text, format, arguments, __builtin_return_address(0));
    va_end(arguments);
    return len;
}

/* What _FORTIFY_SOURCE makes of it. */
int __wrap___asprintf_chk(char **text, int flag, const char *format, ...)
{
    va_list arguments;
    (void)flag;
    va_start(arguments, format);
    int len = put(text, format, arguments, __builtin_return_address(0));
    va_end(arguments);
    return len;
}
