/* SPDX-License-Identifier: MIT */
/* Books each record on its endpoint's account, and prints the balance. */
#include "tally.h"

#include <inttypes.h>

#include "scan.h"

void cbt_tally_open(struct cbt_tally *t, const struct cbt_fleet_options *fleet, bool any_key)
{
    uint64_t *totals = cbt_bytes_checked(calloc(fleet->endpoints, sizeof(*totals)));
    *t = (struct cbt_tally){.fleet = *fleet, .any_key = any_key};
    t->endpoints = cbt_bytes_checked(calloc(fleet->endpoints, sizeof(*t->endpoints)));
    cbt_plan_totals(fleet, totals);
    for (uint32_t i = 0; i < fleet->endpoints; i++)
        t->endpoints[i].expected = fleet->events ? totals[i] : CBT_SEQUENCE_OPEN;
    free(totals);
}

void cbt_tally_note(struct cbt_tally *t, struct cbt_text key, struct cbt_text value, int32_t partition)
{
    int64_t sensor_id, timestamp, key_id;
    t->records++;
    t->bytes += value.len;
    if (!cbt_scan_json(value, &sensor_id, &timestamp)) {
        t->unreadable++;
        return;
    }
    const int64_t endpoint = sensor_id - t->fleet.first_sensor_id;
    const int64_t number = timestamp - CBT_FLEET_EPOCH_UNIX - (int64_t)t->fleet.start;
    if (endpoint < 0 || endpoint >= t->fleet.endpoints || number < 0) {
        t->foreign++;
        return;
    }
    struct cbt_sequence *sequence = &t->endpoints[endpoint];
    const uint64_t before = sequence->first_deliveries;
    if (!cbt_sequence_note(sequence, (uint64_t)number, partition)) {
        t->foreign++;
        return;
    }
    t->events += sequence->first_deliveries - before;
    if (!t->any_key && (!cbt_scan_integer(key, &key_id) || key_id != sensor_id))
        t->wrong_key++;
}

struct cbt_tally_sums cbt_tally_sum(const struct cbt_tally *t)
{
    struct cbt_tally_sums sums = {0};
    for (uint32_t i = 0; i < t->fleet.endpoints; i++) {
        const struct cbt_sequence *s = &t->endpoints[i];
        sums.missing += cbt_sequence_missing(s);
        sums.expected += cbt_sequence_missing(s) + s->first_deliveries;
        sums.duplicates += s->duplicates;
        sums.out_of_order += s->out_of_order;
        sums.split_endpoints += s->split;
    }
    return sums;
}

static bool is_worse(const struct cbt_sequence *a, const struct cbt_sequence *b)
{
    const uint64_t faults_a[] = {cbt_sequence_missing(a), a->split, a->out_of_order, a->duplicates};
    const uint64_t faults_b[] = {cbt_sequence_missing(b), b->split, b->out_of_order, b->duplicates};
    for (int i = 0; i < 4; i++)
        if (faults_a[i] != faults_b[i])
            return faults_a[i] > faults_b[i];
    return false;
}

/* The worst endpoint among those that were not printed yet; NULL where no other has a fault. */
static const struct cbt_sequence *next_worst(const struct cbt_tally *t, const bool *printed,
                                             uint32_t *ret_index)
{
    static const struct cbt_sequence faultless = {0};
    const struct cbt_sequence *worst = &faultless;
    for (uint32_t i = 0; i < t->fleet.endpoints; i++)
        if (!printed[i] && is_worse(&t->endpoints[i], worst)) {
            worst = &t->endpoints[i];
            *ret_index = i;
        }
    return worst == &faultless ? NULL : worst;
}

static void print_endpoint(const struct cbt_tally *t, uint32_t index, FILE *out)
{
    const struct cbt_sequence *s = &t->endpoints[index];
    fprintf(out, "sensor_id=%u missing=%" PRIu64, t->fleet.first_sensor_id + index, cbt_sequence_missing(s));
    if (cbt_sequence_missing(s))
        fprintf(out, " first_missing=%" PRIu64, cbt_sequence_first_missing(s) + t->fleet.start);
    fprintf(out, " duplicates=%" PRIu64 " out_of_order=%" PRIu64, s->duplicates, s->out_of_order);
    if (s->out_of_order)
        fprintf(out, " first_out_of_order=%" PRIu64, s->first_out_of_order + t->fleet.start);
    fprintf(out, "%s\n", s->split ? " in several partitions" : "");
}

void cbt_tally_print(const struct cbt_tally *t, uint32_t worst, double seconds, FILE *out)
{
    const struct cbt_tally_sums sums = cbt_tally_sum(t);
    bool *printed = cbt_bytes_checked(calloc(t->fleet.endpoints, sizeof(*printed)));
    uint32_t index;
    fprintf(out,
            "expected=%" PRIu64 " events=%" PRIu64 " missing=%" PRIu64 " duplicates=%" PRIu64
            " out_of_order=%" PRIu64 " split_endpoints=%" PRIu64 " wrong_key=%" PRIu64 " foreign=%" PRIu64
            " unreadable=%" PRIu64 " records=%" PRIu64 " bytes=%" PRIu64 " seconds=%.3f\n",
            sums.expected, t->events, sums.missing, sums.duplicates, sums.out_of_order, sums.split_endpoints,
            t->wrong_key, t->foreign, t->unreadable, t->records, t->bytes, seconds);
    for (; worst && next_worst(t, printed, &index); worst--) {
        print_endpoint(t, index, out);
        printed[index] = true;
    }
    free(printed);
}

void cbt_tally_print_json(const struct cbt_tally *t, uint32_t worst, double seconds, FILE *out)
{
    const struct cbt_tally_sums sums = cbt_tally_sum(t);
    bool *printed = cbt_bytes_checked(calloc(t->fleet.endpoints, sizeof(*printed)));
    const struct cbt_sequence *s;
    const char *comma = "";
    uint32_t index;
    fprintf(out,
            "{\"expected\":%" PRIu64 ",\"events\":%" PRIu64 ",\"missing\":%" PRIu64 ",\"duplicates\":%" PRIu64
            ",\"out_of_order\":%" PRIu64 ",\"split_endpoints\":%" PRIu64 ",\"wrong_key\":%" PRIu64
            ",\"foreign\":%" PRIu64 ",\"unreadable\":%" PRIu64 ",\"records\":%" PRIu64 ",\"bytes\":%" PRIu64
            ",\"seconds\":%.3f,\"worst\":[",
            sums.expected, t->events, sums.missing, sums.duplicates, sums.out_of_order, sums.split_endpoints,
            t->wrong_key, t->foreign, t->unreadable, t->records, t->bytes, seconds);
    for (; worst && (s = next_worst(t, printed, &index)); worst--) {
        fprintf(out,
                "%s{\"sensor_id\":%u,\"missing\":%" PRIu64 ",\"duplicates\":%" PRIu64
                ",\"out_of_order\":%" PRIu64 ",\"split\":%s}",
                comma, t->fleet.first_sensor_id + index, cbt_sequence_missing(s), s->duplicates,
                s->out_of_order, s->split ? "true" : "false");
        printed[index] = true;
        comma = ",";
    }
    fputs("]}\n", out);
    free(printed);
}

void cbt_tally_close(struct cbt_tally *t)
{
    for (uint32_t i = 0; t->endpoints && i < t->fleet.endpoints; i++)
        cbt_sequence_free(&t->endpoints[i]);
    free(t->endpoints);
    t->endpoints = NULL;
}
