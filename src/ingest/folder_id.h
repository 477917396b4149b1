/* SPDX-License-Identifier: MIT */
/* The sensor id that the name of a folder is, as the server archives an endpoint's files. */
#ifndef CBTAP_INGEST_FOLDER_ID_H
#define CBTAP_INGEST_FOLDER_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of the last folder of a path; an empty path is the working directory. False: its name is no sensor id.
 * @thread any */
bool cbt_folder_sensor_id(const char *path, size_t len, int32_t *ret_sensor_id);

#endif
