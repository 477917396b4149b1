/* SPDX-License-Identifier: MIT */
/* Writes a zip file of one entry, as the servers' sensors do: local header, deflated data, central directory,
 * end. */
#ifndef CBT_LOADGEN_ZIP_WRITER_H
#define CBT_LOADGEN_ZIP_WRITER_H

#include <libdeflate.h>

#include "bytes.h"

/* `name` is the entry's. Data that deflate does not shorten is stored. Replaces what is in `out`. */
void cbt_zip_write(struct libdeflate_compressor *compressor, const char *name, struct cbt_text data,
                   struct cbt_bytes *out);

#endif
