// Choosing a family's table for the active target, and splitting work over threads.
//
// The families other than gemm, conv and depthwise are written over 16-lane vectors (simd/vec.h), which come in three
// kinds: plain C++ (targets scalar, emu512 and emu_amx), two registers (avx2, avx2_vnni) and one (avx512 and its
// extensions). Such a family has one table a kind, in <family>/{scalar,avx2,avx512}.cc.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/cpu.h"
#include "base/thread_pool.h"

// Declares the tables of a family, at global scope.
#define LOWP_DECLARE_TABLES(Type, name) \
  namespace lowp::scalar {              \
  extern const kernels::Type name;      \
  }                                     \
  namespace lowp::avx2 {                \
  extern const kernels::Type name;      \
  }                                     \
  namespace lowp::avx512 {              \
  extern const kernels::Type name;      \
  }

// The table of the active target, by reference.
#define LOWP_SELECT_TABLE(name) \
  (*::lowp::kernels::select_table(&::lowp::scalar::name, &::lowp::avx2::name, &::lowp::avx512::name))

namespace lowp::kernels {

template <typename Table>
const Table* select_table(const Table* plain, const Table* avx2, const Table* avx512) {
  switch (active_target()) {
    case Target::k_avx2:
    case Target::k_avx2_vnni: return avx2;
    case Target::k_avx512:
    case Target::k_avx512_vnni:
    case Target::k_avx512_bf16:
    case Target::k_avx512_amx: return avx512;
    default: return plain;
  }
}

// Elements worth a thread of their own: waking a worker costs some microseconds, in which one core moves about 16 KB.
inline constexpr int64_t kGrainElements = 16384;

// Pieces of a worker's share of `macs` multiply-adds, `most` at most, so that others can take some of them
// (parallel_shares). A piece of 2^20 takes 8 us (INT8) to 20 us (f32), far more than taking it; more than four even out
// little more.
inline int64_t pieces_of_share(int64_t macs, int64_t most) {
  return std::max<int64_t>(std::min<int64_t>({macs >> 20, most, 4}), 1);
}

// Calls body(begin, end) for ranges that cover [0, count), of at least `grain` but for the last, rounded to multiples
// of `align`, on at most `threads` threads.
template <typename F>
void parallel_ranges(int threads, int64_t count, int64_t grain, int64_t align, F&& body) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  int64_t pieces = std::min<int64_t>(threads, (count + grain - 1) / grain);
  if (pieces <= 1) return body(int64_t{0}, count);
  int64_t size = (count + pieces - 1) / pieces;
  size = (size + align - 1) / align * align;
  pieces = (count + size - 1) / size;
  parallel_for(threads, pieces, [&](int64_t i) { body(i * size, std::min(count, (i + 1) * size)); });
}

}  // namespace lowp::kernels
