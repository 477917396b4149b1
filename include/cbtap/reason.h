/* SPDX-License-Identifier: MIT */
/* Why something did not go the ordinary way: the values of the label `reason`, each in one table. */
#ifndef CBTAP_REASON_H
#define CBTAP_REASON_H

#define CBT_DEAD_REASONS(X)                                                                                  \
    X(truncated, "a record's length goes beyond the end of its bundle")                                      \
    X(malformed, "the record is not a valid CbEventMsg")                                                     \
    X(no_header, "the record has no header, or a header without version")                                    \
    X(record_too_large,                                                                                      \
      "the record is larger than decode.record_max_bytes, or its output than the sink takes")                \
    X(too_complex, "the record needs more than decode.arena_max_bytes, or nests or repeats beyond measure")  \
    X(zip_malformed, "the zip file or an entry of it is broken")                                             \
    X(zip_unsupported, "the zip entry is encrypted or uses a method other than stored and deflate")          \
    X(zip_crc, "the entry's content does not match its CRC")                                                 \
    X(zip_entries,                                                                                           \
      "the zip file has more than decode.zip.entries_max entries, or names and comments beyond measure")     \
    X(zip_inflated, "the zip file inflates to more than decode.zip.inflated_max_bytes")                      \
    X(zip_ratio, "the entry inflates by more than decode.zip.ratio_max")                                     \
    X(gzip_malformed, "the gzip file is cut off or broken; what came before the fault was delivered")        \
    X(no_memory, "memory ran out while the zip file was read: it is as good as it was, replay it")           \
    X(not_json, "the notification is not a JSON object")                                                     \
    X(empty, "the message has no body")                                                                      \
    X(frame_too_large, "the message is larger than frame_max_bytes")                                         \
    X(too_many_broken, "the rest of a message of which 100 parts were broken")                               \
    X(too_many_records, "the rest of a message of more than decode.records_max records")                     \
    X(poison, "the process died again and again while it decoded the message")                               \
    X(refused, "the sink's peer refused the record for good, or it is larger than a datagram may be")

#define CBT_FILTERED_REASONS(X)                                                                              \
    X(type, "the filter leaves the type out")                                                                \
    X(deprecated, "stats records are deprecated and empty")                                                  \
    X(unmatched_routing_key, "the queue is bound to a routing key that is not configured (an old binding)")  \
    X(selection, "--host, --since or --until of cbtap export leave it out; the daemon has no such thing")

#define CBT_DROPPED_REASONS(X)                                                                               \
    X(budget, "the share of inflight_bytes reserved for PUBSUB was full")                                    \
    X(spool_full, "the spool had spool_max_bytes")                                                           \
    X(spool_failed, "the spool's disk took nothing, and there was no way around it")                         \
    X(frame_too_large,                                                                                       \
      "the PUBSUB message is larger than frame_max_bytes and dead_letter_dir did not take it")

#define CBT_GAP_REASONS(X)                                                                                   \
    X(closed, "the connection ended, and Redis does not tell why (CLIENT KILL, the network)")                \
    X(restarted, "Redis was restarted")                                                                      \
    X(output_buffer,                                                                                         \
      "most likely client-output-buffer-limit pubsub: Redis had much for a subscriber that was too slow")    \
    X(silent, "Redis did not answer PING")                                                                   \
    X(unreadable, "what came was not the protocol of Redis")

#define CBT_RESENT_REASONS(X)                                                                                \
    X(batch_refused, "its batch was refused: sent again record by record")                                   \
    X(fatal, "the producer failed and was replaced")                                                         \
    X(failed, "the cluster failed (unknown topic, authorization, time-out)")

enum cbt_dead_reason {
#define X(name, text) CBT_DEAD_##name,
    CBT_DEAD_REASONS(X)
#undef X
        CBT_DEAD_COUNT
};
enum cbt_filtered_reason {
#define X(name, text) CBT_FILTERED_##name,
    CBT_FILTERED_REASONS(X)
#undef X
        CBT_FILTERED_COUNT
};
enum cbt_dropped_reason {
#define X(name, text) CBT_DROPPED_##name,
    CBT_DROPPED_REASONS(X)
#undef X
        CBT_DROPPED_COUNT
};
enum cbt_gap_reason {
#define X(name, text) CBT_GAP_##name,
    CBT_GAP_REASONS(X)
#undef X
        CBT_GAP_COUNT
};
enum cbt_resent_reason {
#define X(name, text) CBT_RESENT_##name,
    CBT_RESENT_REASONS(X)
#undef X
        CBT_RESENT_COUNT
};

/* The label's value ("truncated") and the sentence for people. @thread any */
const char *cbt_dead_reason_name(enum cbt_dead_reason reason);
const char *cbt_dead_reason_text(enum cbt_dead_reason reason);
const char *cbt_filtered_reason_name(enum cbt_filtered_reason reason);
const char *cbt_dropped_reason_name(enum cbt_dropped_reason reason);
const char *cbt_gap_reason_name(enum cbt_gap_reason reason);
const char *cbt_resent_reason_name(enum cbt_resent_reason reason);

#endif
