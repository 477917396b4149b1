# SPDX-License-Identifier: MIT
# cmake -D INPUT=file -D OUTPUT=file.c -D NAME=symbol -P EmbedFile.cmake: writes a file as a C array and its size.
file(READ ${INPUT} hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(................................................................................)" "\\1\n" bytes "${bytes}")
file(WRITE ${OUTPUT} "#include <stddef.h>
extern const unsigned char ${NAME}[];
extern const size_t ${NAME}_bytes;
const unsigned char ${NAME}[] = {
${bytes}};
const size_t ${NAME}_bytes = sizeof(${NAME});
")
