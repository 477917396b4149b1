/* SPDX-License-Identifier: MIT */
/* What the HTTP listener serves: metrics, health, readiness, and the status page with its data. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "cbtap/clock.h"
#include "core/http_internal.h"
#include "core/metrics_internal.h"
#include "core/metrics_snapshot.h"

#define REASONS_BYTES 4096
#define NONCE_MARK    "@NONCE@"

/* A page of text; the last line gets its end where it lacks one. */
static bool set_text(struct cbt_http_page *page, unsigned status, const char *text)
{
    size_t len = strlen(text);
    bool ended = len > 0 && text[len - 1] == '\n';
    int written = asprintf(&page->body, "%s%s", text, ended ? "" : "\n");
    if (written < 0) {
        page->body = NULL;
        return false;
    }
    page->status = status;
    page->content_type = "text/plain; charset=utf-8";
    page->len = (size_t)written;
    return true;
}

static bool is_ready(const struct cbt_http_context *context, char *ret_reasons, size_t reasons_bytes)
{
    ret_reasons[0] = '\0';
    return context->ready == NULL || context->ready(context->arg, ret_reasons, reasons_bytes);
}

static bool make_metrics(struct cbt_http_page *page, const struct cbt_http_context *context)
{
    page->content_type = "text/plain; version=0.0.4; charset=utf-8";
    page->body = cbt_metrics_render(context->metrics, &page->len);
    return page->body != NULL;
}

static bool make_health(struct cbt_http_page *page, const struct cbt_http_context *context)
{
    char reason[256] = "";
    if (cbt_metrics_healthy(context->metrics, cbt_now_ns(), CBT_STUCK_NS, reason, sizeof(reason)))
        return set_text(page, 200, "ok");
    return set_text(page, 503, reason);
}

static bool make_ready(struct cbt_http_page *page, const struct cbt_http_context *context)
{
    char reasons[REASONS_BYTES];
    if (is_ready(context, reasons, sizeof(reasons)))
        return set_text(page, 200, "ready");
    return set_text(page, 503, reasons);
}

struct status {
    const struct cbt_http_context *context;
    const struct cbt_snapshot *snapshot;
};

static void put_status(FILE *out, void *arg)
{
    const struct status *status = arg;
    char reasons[REASONS_BYTES];
    bool ready = is_ready(status->context, reasons, sizeof(reasons));
    fputs("{\"server\":\"", out);
    cbt_put_escaped(out, status->context->options->server_name, true);
    fprintf(out, "\",\"ready\":%s,\"reasons\":[", ready ? "true" : "false");
    char *rest = NULL;
    const char *before = "";
    for (char *line = strtok_r(reasons, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        fprintf(out, "%s\"", before);
        cbt_put_escaped(out, line, true);
        fputc('"', out);
        before = ",";
    }
    fputs("],", out);
    cbt_snapshot_put_json(out, status->snapshot);
    fputs("}\n", out);
}

static bool make_status(struct cbt_http_page *page, const struct cbt_http_context *context)
{
    struct cbt_snapshot *snapshot = cbt_snapshot_take(context->metrics);
    if (snapshot == NULL)
        return false;
    page->content_type = "application/json";
    page->body = cbt_put_string(put_status, &(struct status){context, snapshot}, &page->len);
    cbt_snapshot_free(snapshot);
    return page->body != NULL;
}

/* The page with its nonce in every place that is marked: only that script and that style run. */
static void put_status_page(FILE *out, void *arg)
{
    const char *nonce = arg;
    const unsigned char *at = cbt_status_page, *end = at + cbt_status_page_bytes;
    for (;;) {
        const unsigned char *mark = memmem(at, (size_t)(end - at), NONCE_MARK, sizeof(NONCE_MARK) - 1);
        fwrite(at, 1, (size_t)((mark ? mark : end) - at), out);
        if (mark == NULL)
            return;
        fputs(nonce, out);
        at = mark + sizeof(NONCE_MARK) - 1;
    }
}

static bool make_status_page(struct cbt_http_page *page, const struct cbt_http_context *context)
{
    (void)context;
    unsigned char random[16];
    char nonce[2 * sizeof(random) + 1];
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return false;
    for (size_t i = 0; i < sizeof(random); i++)
        snprintf(nonce + 2 * i, 3, "%02x", random[i]);
    page->content_type = "text/html; charset=utf-8";
    snprintf(
        page->policy, sizeof(page->policy),
        "default-src 'none'; script-src 'nonce-%s'; style-src 'nonce-%s'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        nonce, nonce);
    page->body = cbt_put_string(put_status_page, nonce, &page->len);
    return page->body != NULL;
}

bool cbt_http_page_make(struct cbt_http_page *ret_page, const struct cbt_http_context *context,
                        const char *path)
{
    static const struct {
        const char *path;
        bool (*make)(struct cbt_http_page *, const struct cbt_http_context *);
    } pages[] = {{"/", make_status_page},
                 {"/status.json", make_status},
                 {"/metrics", make_metrics},
                 {"/healthz", make_health},
                 {"/readyz", make_ready}};
    struct cbt_http_page page = {.status = 200,
                                 .policy = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"};
    bool known = false, made = true;
    for (unsigned i = 0; i < sizeof(pages) / sizeof(pages[0]) && !known; i++) {
        known = strcmp(path, pages[i].path) == 0;
        if (known)
            made = pages[i].make(&page, context);
    }
    if (!known)
        made = set_text(&page, 404,
                        "Nothing here. There is:\n"
                        "/             status page\n"
                        "/status.json  what it draws\n"
                        "/metrics      for Prometheus\n"
                        "/healthz      is it alive\n"
                        "/readyz       is everything connected");
    if (!made) {
        free(page.body);
        return false;
    }
    *ret_page = page;
    return true;
}
