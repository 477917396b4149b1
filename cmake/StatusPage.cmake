# SPDX-License-Identifier: MIT
# cmake -D FOLDER=src/core -D OUTPUT=file.c -P StatusPage.cmake: the status page as one C array, its style and its script
# put into the page.
file(READ ${FOLDER}/status_page.html page)
file(READ ${FOLDER}/status_page.css style)
file(READ ${FOLDER}/status_page.js script)
string(REPLACE "@STYLE@" "\n${style}" page "${page}")
string(REPLACE "@SCRIPT@" "\n${script}" page "${page}")
file(WRITE ${OUTPUT}.html "${page}")
file(READ ${OUTPUT}.html hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(................................................................................)" "\\1\n" bytes "${bytes}")
file(WRITE ${OUTPUT} "#include <stddef.h>
extern const unsigned char cbt_status_page[];
extern const size_t cbt_status_page_bytes;
const unsigned char cbt_status_page[] = {
${bytes}};
const size_t cbt_status_page_bytes = sizeof(cbt_status_page);
")
