# SPDX-License-Identifier: MIT
# The warnings every target of ours is compiled with. Generated code links cbtap_flags instead, which has none.
add_library(cbtap_flags INTERFACE)
target_compile_definitions(cbtap_flags INTERFACE _GNU_SOURCE)
target_compile_options(cbtap_flags INTERFACE -fno-strict-aliasing -fstack-protector-strong)

add_library(cbtap_warnings INTERFACE)
target_link_libraries(cbtap_warnings INTERFACE cbtap_flags)
target_compile_options(cbtap_warnings INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow
  -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 -Wundef -Werror)
if(CMAKE_C_COMPILER_ID STREQUAL "Clang")
  # The field macros of log.h lean on ##__VA_ARGS__, librdkafka's RD_KAFKA_V_* on statement expressions.
  target_compile_options(cbtap_warnings INTERFACE -Wno-gnu-zero-variadic-macro-arguments -Wno-gnu-statement-expression)
endif()
