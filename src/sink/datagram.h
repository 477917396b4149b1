/* SPDX-License-Identifier: MIT */
/* A peer by UDP as a writer's channel, for the sinks udp and syslog. Nobody tells what became of a datagram.
 */
#ifndef CBTAP_SINK_DATAGRAM_H
#define CBTAP_SINK_DATAGRAM_H

#include "sink/stream.h"

/* NULL: no memory. */
struct writer_channel *datagram_new(const struct endpoint *peer);
/* check --connect: all that can be asked is whether there is a way to it. */
int datagram_probe(const struct endpoint *peer, char *ret_report, size_t report_bytes, struct cbt_err *err);

#endif
