# Flags that every target of the project shares.
find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
endif()

add_library(lowp_options INTERFACE)
# -ffp-contract=off everywhere: multiply-adds are explicit, references included (docs/numerics.md).
target_compile_options(lowp_options INTERFACE -Wall -Wextra -ffp-contract=off)
# Warnings are errors where they are known: gcc's, without sanitizers, whose instrumentation causes false ones.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND NOT LOWP_SANITIZE)
  target_compile_options(lowp_options INTERFACE -Werror)
endif()
target_include_directories(lowp_options INTERFACE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include ${CMAKE_BINARY_DIR}/generated)
if(LOWP_SANITIZE)
  target_compile_options(lowp_options INTERFACE -fsanitize=${LOWP_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
  target_link_options(lowp_options INTERFACE -fsanitize=${LOWP_SANITIZE})
endif()
