/* SPDX-License-Identifier: MIT */
/* The log: one line a message on standard error, `level message key=value...`, or a JSON object. Never on the
 * hot path. */
#ifndef CBTAP_LOG_H
#define CBTAP_LOG_H

#include <stdint.h>

enum cbt_log_level { CBT_LOG_ERROR, CBT_LOG_WARNING, CBT_LOG_INFO, CBT_LOG_DEBUG };
enum cbt_log_format { CBT_LOG_TEXT, CBT_LOG_JSON };

struct cbt_log_field {
    const char *key;
    enum { CBT_FIELD_STR, CBT_FIELD_INT, CBT_FIELD_DBL } kind;
    union {
        const char *str; /* NULL is written as "" */
        int64_t num;
        double dbl;
    } value;
};

#define CBT_S(k, v) ((struct cbt_log_field){.key = (k), .kind = CBT_FIELD_STR, .value.str = (v)})
#define CBT_I(k, v) ((struct cbt_log_field){.key = (k), .kind = CBT_FIELD_INT, .value.num = (int64_t)(v)})
#define CBT_D(k, v) ((struct cbt_log_field){.key = (k), .kind = CBT_FIELD_DBL, .value.dbl = (v)})

/* Sets the level and format; also later, on SIGHUP. @thread any */
void cbt_log_configure(enum cbt_log_level level, enum cbt_log_format format);

/* Writes one line with one write(2). Text values are quoted where they need it; control characters and
 * ill-formed UTF-8 never reach the terminal. @thread any */
void cbt_log_fields(enum cbt_log_level level, const char *message, const struct cbt_log_field *fields,
                    unsigned count);

#define CBT_LOG_(level, message, ...)                                                                        \
    cbt_log_fields((level), (message), (const struct cbt_log_field[]){{0}, ##__VA_ARGS__} + 1,               \
                   (unsigned)(sizeof((const struct cbt_log_field[]){{0}, ##__VA_ARGS__}) /                   \
                              sizeof(struct cbt_log_field)) -                                                \
                       1)
/* cbt_log_info("connected", CBT_S("source", name), CBT_I("port", port)); */
#define cbt_log_error(message, ...)   CBT_LOG_(CBT_LOG_ERROR, message, ##__VA_ARGS__)
#define cbt_log_warning(message, ...) CBT_LOG_(CBT_LOG_WARNING, message, ##__VA_ARGS__)
#define cbt_log_info(message, ...)    CBT_LOG_(CBT_LOG_INFO, message, ##__VA_ARGS__)
#define cbt_log_debug(message, ...)   CBT_LOG_(CBT_LOG_DEBUG, message, ##__VA_ARGS__)

#endif
