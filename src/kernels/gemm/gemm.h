// C[M, N] = epilogue(A[M, K] x B[K, N]), B packed once into panels (pack.h), epilogue.h the formula after the sum.
//
// Numbers (docs/numerics.md). Float: s = 0; for each block of 256 k in order { p = 0; for k in order p = fma(A[m,k],
// B[k,n], p); s = s + p }, the first block's p being s itself. bf16 x bf16 on targets with vdpbf16ps (and emu512): the
// same with one vdpbf16ps a pair of k. INT8: exact s32. Tiles, threads and targets never change a bit.
//
// Which A goes with which B:
//   B f32:  A f32; or bf16, f16, expanded to f32
//   B bf16: A f32 or bf16. Targets with vdpbf16ps round A to bf16; others expand B (and A) to f32.
//   B f16:  A f32, f16; expanded to f32 everywhere
//   B s8:   A u8, or s8 (read as u8 by xor 0x80; fold_zero_point accounts for it)
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/cpu.h"
#include "base/dtype.h"
#include "kernels/gemm/choice.h"
#include "kernels/gemm/epilogue.h"
#include "kernels/gemm/pack.h"

namespace lowp::kernels {

struct GemmArgs {
  int64_t m = 0, n = 0, k = 0;
  DType a_dtype = DType::kF32;
  WeightKind b_kind = WeightKind::kF32;
  Int8Class int8_class = Int8Class::kExact8;  // kS8 only

  const void* a = nullptr;  // [M, K]; nothing beyond each row's K elements is read
  int64_t lda = 0;          // elements
  const void* b = nullptr;  // packed, 64-byte aligned
  void* c = nullptr;        // [M, N] of epilogue.out
  int64_t ldc = 0;          // elements
  Epilogue epilogue;
  // Panels of B from the last to the first. Changes no bit; a caller that multiplies with the same B again and again
  // finds more of it in cache when every other call goes backwards.
  bool backwards = false;
  KernelChoice choice;  // one of gemm_candidates()
};

// How a target multiplies bf16 by bf16: results differ between these, and only between these (docs/numerics.md).
enum class BF16Products : uint8_t {
  kExpanded,  // in f32
  kPairs,     // vdpbf16ps
  kTiles,     // AMX
};
inline constexpr int kBF16Products = 3;
BF16Products bf16_products(Target target);

// What may be chosen for these shapes, types and threads on the active target; the default comes first. Pointers and
// the epilogue are not looked at.
std::vector<KernelChoice> gemm_candidates(const GemmArgs& args, int threads);
// Bytes of scratch that gemm() wants; depends on shapes, types and the choice, not on pointers. 64-byte aligned
// scratch.
size_t gemm_scratch(const GemmArgs& args, int threads);
void gemm(const GemmArgs& args, void* scratch, int threads);
// Whether the a_dtype and b_kind go together.
bool gemm_supported(DType a_dtype, WeightKind b_kind);
// Whether the active target has no arithmetic in the kind, so that each call expands the panels to f32. Repacking them
// once (expand_packed) gives the same bits, takes twice the memory, and is faster for few rows.
bool expands_weights(WeightKind kind);

// How a product of two operands that vary is computed on the active target: kBF16 where both are and the target has
// vdpbf16ps, else kF32, to which 16-bit operands are expanded exactly.
WeightKind product_kind(DType a, DType b);
inline WeightKind product_kind(DType both) { return product_kind(both, both); }

// Both operands dynamic: C[i] = epilogue(A[i] x B[i]) for each batch item i, computed as product_kind says. Each
// operand is row-major or transposed: of its two strides one is 1. Offsets of the items are given by strides (0
// broadcasts) for up to three batch dimensions. B, and A where it is transposed, are copied to scratch.
struct MatmulArgs {
  int64_t m = 0, n = 0, k = 0;
  int64_t batch[3] = {1, 1, 1};
  DType dtype = DType::kF32;  // of A and B: kF32, kBF16 or kF16
  bool bf16 = false;          // f32 operands are rounded to bf16 first where product_kind(kBF16) says so
  const void* a = nullptr;
  int64_t a_batch[3] = {0, 0, 0};  // elements between items
  int64_t lda = 0, a_col = 1;      // elements between consecutive m, consecutive k
  const void* b = nullptr;
  int64_t b_batch[3] = {0, 0, 0};
  int64_t b_row = 0, b_col = 0;  // elements between consecutive k, consecutive n
  void* c = nullptr;
  int64_t c_batch[3] = {0, 0, 0};  // also those of the residual
  int64_t ldc = 0;
  Epilogue epilogue;  // bias [N] is shared by all items
};
// Whether K is taken in blocks of 256 whose sums are added in order, also where the products themselves have no such
// blocks (BF16Products::kTiles). Follows from shapes and types.
bool is_summed_by_blocks(const MatmulArgs& args);
size_t matmul_scratch(const MatmulArgs& args, int threads);
void matmul(const MatmulArgs& args, void* scratch, int threads);

}  // namespace lowp::kernels
