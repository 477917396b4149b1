/* SPDX-License-Identifier: MIT */
/*
 * Server notifications as JSON: the text that came, without the members that the rules (json_rules.h) remove
 * or write anew, then those that they write. No key comes out twice.
 */
#include "format/json.h"
#include "format/json_rules.h"
#include "format/json_source.h"

static struct cbt_text token_text(const struct cbt_json_fixed *f, unsigned token)
{
    return cbt_json_token_text(&f->note->tokens, token);
}

static uint8_t *put_text(struct cbt_json_writer *w, uint8_t *p, const struct cbt_json_fixed *f,
                         struct cbt_text span)
{
    return cbt_json_source(&w->out, p, f->note, span.data, span.data + span.len);
}

static uint8_t *put_value(struct cbt_json_writer *w, uint8_t *p, const struct cbt_json_fixed *f,
                          unsigned token)
{
    return put_text(w, p, f, cbt_note_span(f->note, token));
}

static uint8_t *put_key(uint8_t *p, struct cbt_json_fixed *f, enum cbt_note_key key)
{
    static const struct {
        char text[32];
        size_t len;
    } names[CBT_NOTE_KEYS] = {
#define X(name) [CBT_NOTE_##name] = {",\"" #name "\":", sizeof(",\"" #name "\":") - 1},
        CBT_NOTIFICATION_KEYS(X)
#undef X
    };
    size_t comma = !f->any;
    f->any = true;
    memcpy(p, names[key].text + comma, names[key].len - comma);
    return p + names[key].len - comma;
}

/* Writes what passes as it came: as few pieces as the members between them allow. */
static uint8_t *put_kept(struct cbt_json_writer *w, uint8_t *p, struct cbt_json_fixed *f)
{
    const struct cbt_notification *note = f->note;
    unsigned docs = note->entry != 0 ? note->top.value[CBT_NOTE_docs] : 0;
    struct cbt_text run = {NULL, 0};
    unsigned next;
    for (unsigned key = f->object->token + 1;; key = next) {
        bool end = key >= f->object->end;
        uint8_t mark = end ? CBT_NOTE_OTHER : note->marks[key];
        if (!end && mark != CBT_NOTE_SUPERSEDED && !cbt_json_is_replaced(f, mark)) {
            struct cbt_text value = cbt_note_span(note, key + 1);
            if (run.data == NULL)
                run.data = cbt_note_span(note, key).data;
            run.len = (size_t)(value.data + value.len - run.data);
        } else if (run.data != NULL) {
            if (f->any)
                *p++ = ',';
            f->any = true;
            p = put_text(w, p, f, run);
            run.data = NULL;
        }
        if (end)
            return p;
        /* All entries of docs are not to be passed over again for each of them. */
        next = key + 1 == docs ? note->docs_end : cbt_json_token_end(&note->tokens, key + 1);
    }
}

static uint8_t *put_copies(struct cbt_json_writer *w, uint8_t *p, struct cbt_json_fixed *f)
{
    const unsigned *value = f->object->value;
    if (cbt_json_is_replaced(f, CBT_NOTE_timestamp))
        p = put_value(w, put_key(p, f, CBT_NOTE_timestamp), f, value[CBT_NOTE_event_timestamp]);
    if (cbt_json_is_replaced(f, CBT_NOTE_computer_name))
        p = put_value(w, put_key(p, f, CBT_NOTE_computer_name), f, value[CBT_NOTE_hostname]);
    for (unsigned i = 0; i < NOTE_IPS; i++) {
        if (cbt_json_is_replaced(f, cbt_json_ip_rows[i])) {
            p = put_key(p, f, cbt_json_ip_rows[i]);
            *p++ = '"';
            p = cbt_json_ip4(p, __builtin_bswap32(f->ip[i]));
            *p++ = '"';
        }
    }
    return p;
}

static uint8_t *put_hashes(struct cbt_json_writer *w, uint8_t *p, struct cbt_json_fixed *f)
{
    for (unsigned i = 0; i < NOTE_HASHES; i++) {
        if (cbt_json_is_replaced(f, cbt_json_hash_rows[i].key)) {
            p = put_key(p, f, cbt_json_hash_rows[i].key);
            *p++ = '"';
            p = cbt_json_source_upper(&w->out, p, token_text(f, f->object->value[cbt_json_hash_rows[i].key]));
            *p++ = '"';
        }
    }
    if (f->ioc_md5 != 0) {
        struct cbt_text object = cbt_note_span(f->note, f->object->value[CBT_NOTE_ioc_type]);
        struct cbt_text md5 = token_text(f, f->ioc_md5);
        const uint8_t *behind = md5.data + md5.len;
        p = put_key(p, f, CBT_NOTE_ioc_type);
        p = cbt_json_source(&w->out, p, f->note, object.data, md5.data);
        p = cbt_json_source_upper(&w->out, p, md5);
        p = cbt_json_source(&w->out, p, f->note, behind, object.data + object.len);
    }
    return p;
}

static uint8_t *put_query(struct cbt_json_writer *w, uint8_t *p, struct cbt_json_fixed *f)
{
    const struct cbt_note_query *query = f->object->query;
    if (query == NULL)
        return p;
    p = put_key(p, f, CBT_NOTE_ioc_query_index);
    p = cbt_json_string(&w->out, p, query->index.data, query->index.len);
    if (!query->has_string)
        return p;
    p = put_key(p, f, CBT_NOTE_ioc_query_string);
    return cbt_json_string(&w->out, p, query->string.data, query->string.len);
}

static uint8_t *put_guids(struct cbt_json_writer *w, uint8_t *p, struct cbt_json_fixed *f)
{
    for (unsigned side = 0; side < NOTE_SIDES; side++) {
        if (f->side[side].guid.data == NULL)
            continue;
        p = put_key(p, f, cbt_json_side_rows[side].guid);
        *p++ = '"';
        p = cbt_json_mended(&w->out, p, f->side[side].guid);
        *p++ = '"';
        p = put_key(p, f, cbt_json_side_rows[side].segment);
        *p++ = '"';
        p = cbt_json_u64(p, f->side[side].segment);
        *p++ = '"';
    }
    return p;
}

static uint8_t *put_part(uint8_t *p, const struct cbt_json_part *part)
{
    memcpy(p, part->text, part->len);
    return p + part->len;
}

/* A link's part begins with a comma: what a link is made of has been written before it. */
static uint8_t *put_links(struct cbt_json_writer *w, uint8_t *p, const struct cbt_json_fixed *f)
{
    const struct cbt_json *json = w->json;
    const struct cbt_json_part *const parts[NOTE_SIDES] = {&json->link_process, &json->link_parent};
    const unsigned *value = f->object->value;
    if (cbt_json_is_replaced(f, CBT_NOTE_link_sensor)) {
        p = put_part(p, &json->link_sensor);
        p = cbt_json_mended(&w->out, p, token_text(f, value[CBT_NOTE_sensor_id]));
        *p++ = '"';
    }
    for (unsigned i = 0; i < NOTE_HASHES; i++) {
        if (!cbt_json_is_replaced(f, cbt_json_hash_rows[i].link))
            continue;
        struct cbt_text hash = token_text(f, value[cbt_json_hash_rows[i].key]);
        p = put_part(p, &json->link_hash[i]);
        p = cbt_json_is_replaced(f, cbt_json_hash_rows[i].key) ? cbt_json_source_upper(&w->out, p, hash)
                                                               : cbt_json_mended(&w->out, p, hash);
        *p++ = '"';
    }
    for (unsigned side = 0; side < NOTE_SIDES; side++) {
        struct cbt_text guid, segment = cbt_json_side_rows[side].segment_default;
        unsigned came = value[cbt_json_side_rows[side].segment];
        if (!cbt_json_guid_of(f, side, &guid))
            continue;
        p = put_part(p, parts[side]);
        p = cbt_json_mended(&w->out, p, guid);
        *p++ = '/';
        if (cbt_note_is_string(f->note, came) || cbt_note_is_number(f->note, came))
            segment = token_text(f, came);
        if (f->side[side].guid.data != NULL)
            p = cbt_json_u64(p, f->side[side].segment);
        else
            p = cbt_json_mended(&w->out, p, segment);
        *p++ = '"';
    }
    return p;
}

/* The members of one object, without its braces. */
static uint8_t *put_members(struct cbt_json_writer *w, uint8_t *p, struct cbt_json_fixed *f)
{
    static const char alert[] = "alert.";
    struct cbt_text type = w->event->type_name;
    bool is_alert = type.len >= sizeof(alert) - 1 && memcmp(type.data, alert, sizeof(alert) - 1) == 0;
    cbt_json_read_rules(f, is_alert, w->json->links);
    p = put_kept(w, p, f);
    p = put_copies(w, p, f);
    p = put_hashes(w, p, f);
    p = put_query(w, p, f);
    p = put_guids(w, p, f);
    return w->json->links ? put_links(w, p, f) : p;
}

/* The array docs with this event's entry alone. */
static uint8_t *put_docs(struct cbt_json_writer *w, uint8_t *p, struct cbt_json_fixed *top)
{
    const struct cbt_notification *note = top->note;
    p = put_key(p, top, CBT_NOTE_docs);
    *p++ = '[';
    if (note->entry_is_object) {
        struct cbt_json_fixed entry = {.note = note, .object = &note->entry_object};
        *p++ = '{';
        p = put_members(w, p, &entry);
        *p++ = '}';
    } else {
        p = put_value(w, p, top, note->entry);
    }
    *p++ = ']';
    return p;
}

uint8_t *cbt_json_notification(struct cbt_json_writer *w, uint8_t *p)
{
    const struct cbt_notification *note = w->event->notification;
    struct cbt_json_fixed top = {.note = note, .object = &note->top, .any = true};
    top.replaced = NOTE_BIT(CBT_NOTE_type) | NOTE_BIT(CBT_NOTE_cb_server) |
                   (note->entry != 0 ? NOTE_BIT(CBT_NOTE_docs) : 0);
    p = JSON_LITERAL(p, "{\"type\":\"");
    p = cbt_json_escape(&w->out, p, w->event->type_name.data, w->event->type_name.len);
    p = JSON_LITERAL(p, "\",");
    memcpy(p, w->json->server.text, w->json->server.len);
    p += w->json->server.len;
    p = put_members(w, p, &top);
    if (note->entry != 0)
        p = put_docs(w, p, &top);
    *p++ = '}';
    return p;
}
