/* SPDX-License-Identifier: MIT */
/*
 * All other zips: libzip reads the directory (zip64, comments, several entries) and hands out each entry's
 * compressed bytes, which are copied once, into a buffer that has room to wrap them as a zip of their own:
 * that is the dead letter of an entry that is broken, so that it can be looked at, and sent again, by itself.
 */
#include <stdlib.h>
#include <string.h>

#include "decode/zip.h"

#define LOCAL_BYTES   30u
#define CENTRAL_BYTES 46u
#define END_BYTES     22u

#define LOCAL_SIGNATURE   0x04034b50u
#define CENTRAL_SIGNATURE 0x02014b50u
#define END_SIGNATURE     0x06054b50u

/* What libzip failed for. Of memory that ran out it does not always say so. */
static enum cbt_dead_reason reason_of(const zip_error_t *error)
{
    return zip_error_code_zip(error) == ZIP_ER_MEMORY ? CBT_DEAD_no_memory : CBT_DEAD_zip_malformed;
}

bool cbt_zip_open_many(struct cbt_zip *zip, enum cbt_dead_reason *ret_reason)
{
    if (!cbt_zip_check_directory(zip, ret_reason))
        return false;
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t *source = zip_source_buffer_create(zip->body.data, zip->body.len, 0, &error);
    if (source != NULL)
        zip->many = zip_open_from_source(source, ZIP_RDONLY, &error);
    /* Bytes in memory are a source as they are, unless there is none for it. */
    *ret_reason = source == NULL ? CBT_DEAD_no_memory : reason_of(&error);
    zip_error_fini(&error);
    if (zip->many == NULL) {
        if (source != NULL)
            zip_source_free(source);
        return false;
    }
    zip_int64_t entries = zip_get_num_entries(zip->many, 0);
    if (entries < 0)
        return false;
    if ((uint64_t)entries > zip->entries_max) {
        *ret_reason = CBT_DEAD_zip_entries;
        return false;
    }
    zip->entries = (uint32_t)entries;
    return true;
}

void cbt_zip_close_many(struct cbt_zip *zip)
{
    if (zip->many != NULL)
        zip_discard(zip->many);
    zip->many = NULL;
}

static void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static void put32(uint8_t *at, uint32_t value)
{
    put16(at, value);
    put16(at + 2, value >> 16);
}

/* The fields that local and central header have in common, 26 bytes from "version needed" on. */
static void put_common(uint8_t *at, const struct cbt_zip_stat *stat, size_t name_bytes)
{
    memset(at, 0, 26);
    put16(at, 20);
    put16(at + 2, stat->encrypted ? 1 : 0);
    put16(at + 4, stat->method);
    put32(at + 10, stat->crc);
    put32(at + 14, (uint32_t)stat->compressed_bytes);
    /* Without zip64 there is no saying more; any zip that says so is over the limit. */
    put32(at + 18, stat->bytes < UINT32_MAX ? (uint32_t)stat->bytes : UINT32_MAX - 1);
    put16(at + 22, (uint32_t)name_bytes);
}

/* Puts headers around the compressed bytes that lie at copy + LOCAL_BYTES + name_bytes. */
static struct cbt_text wrap(const struct cbt_zip *zip, const struct cbt_zip_stat *stat, const char *name,
                            size_t name_bytes)
{
    uint8_t *local = zip->copy;
    uint8_t *central = local + LOCAL_BYTES + name_bytes + stat->compressed_bytes;
    uint8_t *end = central + CENTRAL_BYTES + name_bytes;
    put32(local, LOCAL_SIGNATURE);
    put_common(local + 4, stat, name_bytes);
    memcpy(local + LOCAL_BYTES, name, name_bytes);
    memset(central, 0, CENTRAL_BYTES);
    put32(central, CENTRAL_SIGNATURE);
    put16(central + 4, 20);
    put_common(central + 6, stat, name_bytes);
    memcpy(central + CENTRAL_BYTES, name, name_bytes);
    memset(end, 0, END_BYTES);
    put32(end, END_SIGNATURE);
    put16(end + 8, 1);
    put16(end + 10, 1);
    put32(end + 12, (uint32_t)(CENTRAL_BYTES + name_bytes));
    put32(end + 16, (uint32_t)(central - local));
    return (struct cbt_text){local, (size_t)(end + END_BYTES - local)};
}

/* Room for the entry and the headers around it. */
static bool make_room(struct cbt_zip *zip, size_t bytes)
{
    if (bytes <= zip->copy_capacity)
        return true;
    free(zip->copy);
    zip->copy = malloc(bytes);
    zip->copy_capacity = zip->copy != NULL ? bytes : 0;
    return zip->copy != NULL;
}

static bool read_stat(struct cbt_zip *zip, uint32_t index, struct cbt_zip_stat *ret_stat,
                      const char **ret_name, enum cbt_dead_reason *ret_reason)
{
    const zip_uint64_t needed =
        ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_CRC | ZIP_STAT_COMP_METHOD;
    zip_stat_t st;
    *ret_reason = CBT_DEAD_zip_malformed;
    if (zip_stat_index(zip->many, index, ZIP_FL_ENC_RAW, &st) != 0) {
        *ret_reason = reason_of(zip_get_error(zip->many));
        return false;
    }
    if ((st.valid & needed) != needed)
        return false;
    size_t name_bytes = strlen(st.name);
    *ret_name = st.name;
    *ret_stat = (struct cbt_zip_stat){
        .method = st.comp_method,
        .crc = st.crc,
        .compressed_bytes = st.comp_size,
        .bytes = st.size,
        .encrypted = (st.valid & ZIP_STAT_ENCRYPTION_METHOD) != 0 && st.encryption_method != ZIP_EM_NONE,
        .directory = name_bytes > 0 && st.name[name_bytes - 1] == '/',
    };
    return name_bytes <= UINT16_MAX;
}

/* Returns the number of bytes that are there. */
static uint64_t read_compressed(struct cbt_zip *zip, uint32_t index, uint8_t *out, uint64_t bytes,
                                enum cbt_dead_reason *ret_reason)
{
    zip_file_t *file = zip_fopen_index(zip->many, index, ZIP_FL_COMPRESSED | ZIP_FL_ENCRYPTED);
    if (file == NULL) {
        *ret_reason = reason_of(zip_get_error(zip->many));
        return 0;
    }
    uint64_t done = 0;
    while (done < bytes) {
        zip_int64_t n = zip_fread(file, out + done, bytes - done);
        if (n < 0)
            *ret_reason = reason_of(zip_file_get_error(file));
        if (n <= 0)
            break;
        done += (uint64_t)n;
    }
    (void)zip_fclose(file);
    return done;
}

/* Gets an entry's compressed bytes, with room around them. False where they are not to be found: outside of
 * the body, or overlapping others, so that together they are larger than the body; or for want of memory. */
static bool fetch(struct cbt_zip *zip, uint32_t index, const struct cbt_zip_stat *stat, size_t name_bytes,
                  enum cbt_dead_reason *ret_reason)
{
    *ret_reason = CBT_DEAD_zip_malformed;
    if (stat->compressed_bytes > zip->body.len - zip->compressed_bytes || zip->body.len > UINT32_MAX)
        return false;
    if (!make_room(zip, (size_t)stat->compressed_bytes + LOCAL_BYTES + CENTRAL_BYTES + END_BYTES +
                            2 * name_bytes)) {
        *ret_reason = CBT_DEAD_no_memory;
        return false;
    }
    uint64_t done =
        read_compressed(zip, index, zip->copy + LOCAL_BYTES + name_bytes, stat->compressed_bytes, ret_reason);
    zip->compressed_bytes += (size_t)done;
    return done == stat->compressed_bytes;
}

enum cbt_zip_rc cbt_zip_next_many(struct cbt_zip *zip, struct cbt_zip_entry *ret_entry)
{
    while (zip->next < zip->entries) {
        struct cbt_zip_stat stat;
        const char *name;
        uint32_t index = zip->next++;
        *ret_entry = (struct cbt_zip_entry){.index = index};
        bool known = read_stat(zip, index, &stat, &name, &ret_entry->reason);
        if (known && stat.directory)
            continue;
        if (!known || !fetch(zip, index, &stat, strlen(name), &ret_entry->reason)) {
            /* The body holds what there is of it, and of any other such entry. */
            if (zip->body_given)
                continue;
            zip->body_given = true;
            ret_entry->data = zip->body;
            ret_entry->in_body = true;
            return CBT_ZIP_BROKEN;
        }
        if (cbt_zip_extract(zip, &stat, zip->copy + LOCAL_BYTES + strlen(name), &ret_entry->data,
                            &ret_entry->reason))
            return CBT_ZIP_CONTENT;
        ret_entry->data = wrap(zip, &stat, name, strlen(name));
        return CBT_ZIP_BROKEN;
    }
    return CBT_ZIP_END;
}
