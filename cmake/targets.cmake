# The one table of instruction-set targets: name and compile flags. src/base/targets.inc lists the same names in the order
# of preference; a file src/kernels/<family>/<target>.cc is compiled with that target's flags and in namespace lowp::<target>.
set(LOWP_X86_BASE -mavx2 -mfma -mf16c -mbmi -mbmi2)
# Tuned otherwise, gcc 12 keeps row pointers in vector registers and fetches them with vmovq, on a port that the products want.
set(LOWP_X86_512 ${LOWP_X86_BASE} -mavx512f -mavx512bw -mavx512vl -mavx512dq -mprefer-vector-width=512 -mtune=skylake-avx512)

set(LOWP_TARGETS scalar emu512 emu_amx avx2 avx2_vnni avx512 avx512_vnni avx512_bf16 avx512_amx)
# gcc unrolls their emulated lanes for minutes (depthwise: 108 s at -O3, 31 s at -O1), and nobody runs them for speed.
set(LOWP_FLAGS_scalar -O1)
set(LOWP_FLAGS_emu512 -O1)
set(LOWP_FLAGS_emu_amx -O1)
set(LOWP_FLAGS_avx2 ${LOWP_X86_BASE})
set(LOWP_FLAGS_avx2_vnni ${LOWP_X86_BASE} -mavxvnni)
set(LOWP_FLAGS_avx512 ${LOWP_X86_512})
set(LOWP_FLAGS_avx512_vnni ${LOWP_X86_512} -mavx512vnni)
set(LOWP_FLAGS_avx512_bf16 ${LOWP_X86_512} -mavx512vnni -mavx512bf16)
set(LOWP_FLAGS_avx512_amx ${LOWP_FLAGS_avx512_bf16} -mamx-tile -mamx-int8 -mamx-bf16)

# Kernel translation units: no exceptions, nothing exported but their table, no LTO, -O3 because they are all inner loops.
set(LOWP_KERNEL_FLAGS -O3 -fno-exceptions -fno-rtti -fno-threadsafe-statics -ffp-contract=off -fno-math-errno -fno-trapping-math
    -fvisibility=hidden -fno-lto
    # gcc 12 warns inside its own AVX-512 headers (bug 105593); a vector header has more functions than one file uses.
    -Wno-uninitialized -Wno-maybe-uninitialized -Wno-unused-function)
# Sanitizers stay out of the inner loops: instrumented they take minutes to compile, and tests end their buffers at guard pages.
if(LOWP_SANITIZE)
  list(APPEND LOWP_KERNEL_FLAGS -O1 -fno-sanitize=all)
endif()

# lowp_kernel_sources(target): sets the flags of every <target>.cc under src/kernels.
function(lowp_set_kernel_flags)
  foreach(target ${LOWP_TARGETS})
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/kernels/*/${target}.cc)
    foreach(source ${sources})
      set_property(SOURCE ${source} APPEND PROPERTY COMPILE_OPTIONS ${LOWP_KERNEL_FLAGS} ${LOWP_FLAGS_${target}} -DLOWP_TARGET=${target})
    endforeach()
  endforeach()
endfunction()
