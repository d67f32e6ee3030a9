// AVX-512 F, BW, VL, DQ: 32 registers, a panel is one of them.
#include "kernels/gemm/epilogue.inl.h"
#include "kernels/gemm/gather.inl.h"
#include "kernels/gemm/gemm.inl.h"

namespace lowp::avx512 {
namespace {

// rows * panels accumulators, the panels of B and one of A in 32 registers. Wider tiles are for few rows, where the
// number of independent sums must hide the latency of fma.
struct Rows {
  static constexpr int kRows[] = {0, 14, 14, 9, 6, 0, 4};
};
// Two products and a widened or second B besides.
struct IntRows {
  static constexpr int kRows[] = {0, 14, 12, 8, 5, 0, 3};
};
constexpr TileSet kF32 = make_tiles<StepF32, Rows>(kernels::RowForm::kF32);
// B expanded besides; gcc 12 spills the sums of 10 x 2.
struct WideRows {
  static constexpr int kRows[] = {0, 9, 9, 8, 5, 0, 3};
};
// As IntRows, but that gcc 12 spills 7 x 3.
struct ExactRows {
  static constexpr int kRows[] = {0, 14, 12, 6, 5, 0, 3};
};
constexpr TileSet kBF16Wide = make_tiles<StepBF16Wide, WideRows>(kernels::RowForm::kF32);
constexpr TileSet kExact = make_tiles<StepExact, ExactRows>(kernels::RowForm::kWide);
// 16-bit sums besides.
struct OctRows {
  static constexpr int kRows[] = {0, 10, 5, 3, 2, 0, 0};
};
constexpr TileSet kQuad = make_tiles<StepQuad, IntRows>(kernels::RowForm::kU8);
constexpr TileSet kOct = make_tiles<StepOct, OctRows>(kernels::RowForm::kU8);
struct WordRows {
  static constexpr int kRows[] = {0, 14, 12, 0, 0, 0, 0};
};
constexpr TileSet kS16 = make_tiles<StepS16, WordRows>(kernels::RowForm::kS16);

}  // namespace

extern const kernels::GemmTable gemm_kernels;
const kernels::GemmTable gemm_kernels = {
    .f32 = &kF32,
    .bf16_wide = &kBF16Wide,
    .s8_exact = &kExact,
    .s8_quad = &kQuad,
    .s8_oct = &kOct,
    .s16 = &kS16,
    .gather = kGather,
    .expand_bf16 = expand_bf16,
    .expand_f16 = expand_f16,
    .epilogue_f32 = epilogue_tile<FloatIn>,
    .epilogue_s32 = epilogue_int,
};

}  // namespace lowp::avx512
