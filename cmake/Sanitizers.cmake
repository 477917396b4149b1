# SPDX-License-Identifier: MIT
if(CBTAP_SANITIZE STREQUAL "address")
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
elseif(CBTAP_SANITIZE STREQUAL "thread")
  add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
  # -rdynamic: the libraries are to find the executable's C11 threads, see tests/lib/tsan_c11_threads.c.
  add_link_options(-fsanitize=thread -rdynamic)
  add_library(cbtap_c11_threads OBJECT ${CMAKE_CURRENT_LIST_DIR}/../tests/lib/tsan_c11_threads.c)
  target_link_libraries(cbtap_c11_threads PRIVATE cbtap_warnings)
  link_libraries($<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:cbtap_c11_threads>)
elseif(CBTAP_SANITIZE STREQUAL "fuzzer")
  # The targets themselves link libFuzzer, see tests/fuzz/CMakeLists.txt.
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
elseif(CBTAP_SANITIZE)
  message(FATAL_ERROR "CBTAP_SANITIZE is '${CBTAP_SANITIZE}': give address, thread, fuzzer or nothing")
endif()
