/* SPDX-License-Identifier: MIT */
/* The parts of the HTTP listener: its address, and what it serves. */
#ifndef CBTAP_CORE_HTTP_INTERNAL_H
#define CBTAP_CORE_HTTP_INTERNAL_H

#include "cbtap/http.h"

/* A listening socket on HOST:PORT, [IPv6]:PORT, with the port that it got. CBT_EINVAL where the text is at
 * fault, CBT_EIO where the system says no, with what to do. @thread main */
int cbt_http_listen(const char *address, int backlog, int *ret_fd, unsigned *ret_port, struct cbt_err *err);

struct cbt_http_page {
    unsigned status;
    const char *content_type;
    char *body; /* malloc'ed */
    size_t len;
    char policy[256]; /* Content-Security-Policy */
};

/* What there is at `path`; an unknown one is a page with status 404. False: out of memory. @thread http */
bool cbt_http_page_make(struct cbt_http_page *ret_page, const struct cbt_http_context *context,
                        const char *path);

/* src/core/status_page.html, embedded by the build. */
extern const unsigned char cbt_status_page[];
extern const size_t cbt_status_page_bytes;

#endif
