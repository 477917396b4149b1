/* SPDX-License-Identifier: MIT */
/* Paths, command lines, registry keys, domains and users that look as on real endpoints. */
#ifndef CBT_LOADGEN_NAMES_H
#define CBT_LOADGEN_NAMES_H

#include <stdbool.h>

#include "bytes.h"
#include "random.h"

enum cbt_os { CBT_OS_WINDOWS, CBT_OS_LINUX };

/* A program that runs on endpoints, and how it is started. */
struct cbt_program {
    const char *path;
    const char *command_line; /* patterns, as all that follow */
    bool by_user;             /* else by the system's own account */
};

/* Patterns: {user} {sid} {hex} {guid} {num} {word} {site} are filled in by cbt_names_fill. */
const struct cbt_program *cbt_names_program(struct cbt_random *random, enum cbt_os os);
const char *cbt_names_module(struct cbt_random *random, enum cbt_os os);
const char *cbt_names_file(struct cbt_random *random, enum cbt_os os);
const char *cbt_names_key(struct cbt_random *random);
const char *cbt_names_domain(struct cbt_random *random);

#define CBT_NAMES_USERS 20

/* Appends the pattern, filled in; `user` below CBT_NAMES_USERS. */
void cbt_names_fill(struct cbt_random *random, const char *pattern, uint32_t user, struct cbt_bytes *out);

#endif
