/* SPDX-License-Identifier: MIT */
/*
 * Stands in front of libprotobuf-c and aborts where what is to be unpacked holds a marker: a decoder with a
 * bug that a message sets off. A unit test links it; a daemon gets it by LD_PRELOAD.
 */
#include <dlfcn.h>
#include <protobuf-c/protobuf-c.h>
#include <stdlib.h>
#include <string.h>

#define MARKER "-crash-the-decoder-"

ProtobufCMessage *protobuf_c_message_unpack(const ProtobufCMessageDescriptor *descriptor,
                                            ProtobufCAllocator *allocator, size_t len, const uint8_t *data)
{
    static ProtobufCMessage *(*real)(const ProtobufCMessageDescriptor *, ProtobufCAllocator *, size_t,
                                     const uint8_t *);
    if (memmem(data, len, MARKER, strlen(MARKER)) != NULL)
        abort();
    if (real == NULL) {
        void *found = dlsym(RTLD_NEXT, "protobuf_c_message_unpack");
        memcpy(&real, &found, sizeof(real));
    }
    return real(descriptor, allocator, len, data);
}
