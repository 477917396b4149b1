/* SPDX-License-Identifier: MIT */
/* netconn and netconnblocked, of the old and the new messages: what processes do to the network. */
#include "format/json_row.h"

/* An address that is not there is 0.0.0.0. */
static uint8_t *json_ip(struct cbt_json_writer *w, uint8_t *p, const CbIpAddr *address)
{
    *p++ = '"';
    if (address == NULL) {
        p = cbt_json_ip4(p, 0);
    } else if (!address->bisipv6) {
        p = cbt_json_ip4(p, address->ipv4address);
    } else {
        p = cbt_json_ip6(p, address->ipv6high, address->ipv6low);
        if (address->has_ipv6scope) {
            *p++ = '%';
            p = cbt_json_escape(&w->out, p, address->ipv6scope.data, address->ipv6scope.len);
        }
    }
    *p++ = '"';
    return p;
}

static uint8_t *netconn(struct cbt_json_writer *w, uint8_t *p, const CbNetConnMsgv2 *m)
{
#define CBT_JSON_netconn
#include "format/json_keys.def"
    return p;
}

static uint8_t *netconn_old(struct cbt_json_writer *w, uint8_t *p, const CbNetConnMsg *m)
{
#define CBT_JSON_netconn_old
#include "format/json_keys.def"
    return p;
}

uint8_t *cbt_json_netconn(struct cbt_json_writer *w, uint8_t *p)
{
    return w->msg->networkv2 != NULL ? netconn(w, p, w->msg->networkv2) : netconn_old(w, p, w->msg->network);
}

/* The blocked messages have the fields of the others, by the same names. */
static uint8_t *blocked(struct cbt_json_writer *w, uint8_t *p, const CbNetConnBlockedMsgv2 *m)
{
#define CBT_JSON_netconn
#define CBT_JSON_netconnblocked
#include "format/json_keys.def"
    return p;
}

static uint8_t *blocked_old(struct cbt_json_writer *w, uint8_t *p, const CbNetConnBlockedMsg *m)
{
#define CBT_JSON_netconn_old
#define CBT_JSON_netconnblocked
#include "format/json_keys.def"
    return p;
}

uint8_t *cbt_json_netconnblocked(struct cbt_json_writer *w, uint8_t *p)
{
    return w->msg->netconnblockedv2 != NULL ? blocked(w, p, w->msg->netconnblockedv2)
                                            : blocked_old(w, p, w->msg->netconnblocked);
}
