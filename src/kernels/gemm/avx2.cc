// AVX2, FMA, F16C: 16 registers, a panel is two of them.
#include "kernels/gemm/epilogue.inl.h"
#include "kernels/gemm/gather.inl.h"
#include "kernels/gemm/gemm.inl.h"

namespace lowp::avx2 {
namespace {

// 6 x 16: 12 accumulators, 2 of B, 1 of A.
struct FloatRows {
  static constexpr int kRows[] = {0, 6, 3, 0, 1, 0, 0};
};
// 10 accumulators, a widened panel, one of A and temporaries. With 6 rows gcc 12 spills two sums: 0.93x on 8 and 32
// rows, 1.02x on 196 (Zen 5).
struct ExactRows {
  static constexpr int kRows[] = {0, 5, 2, 0, 1, 0, 0};
};
// 8 accumulators, 2 of B, the ones, and temporaries.
struct QuadRows {
  static constexpr int kRows[] = {0, 4, 2, 0, 1, 0, 0};
};
// 6 accumulators, their 16-bit sums, 2 of B, 1 of A and a product: all 16.
struct OctRows {
  static constexpr int kRows[] = {0, 3, 0, 0, 0, 0, 0};
};
constexpr TileSet kF32 = make_tiles<StepF32, FloatRows>(kernels::RowForm::kF32);
// Two of B, their halves, one of A; gcc 12 spills 1 x 4.
struct WideRows {
  static constexpr int kRows[] = {0, 4, 2, 0, 0, 0, 0};
};
constexpr TileSet kBF16Wide = make_tiles<StepBF16Wide, WideRows>(kernels::RowForm::kF32);
// 12 accumulators, 2 of B, 1 of A and a product.
struct WordRows {
  static constexpr int kRows[] = {0, 6, 0, 0, 0, 0, 0};
};
constexpr TileSet kS16 = make_tiles<StepS16, WordRows>(kernels::RowForm::kS16);
constexpr TileSet kExact = make_tiles<StepExact, ExactRows>(kernels::RowForm::kWide);
constexpr TileSet kQuad = make_tiles<StepQuad, QuadRows>(kernels::RowForm::kU8);
// One or two rows are bound by reading weights: quads leave registers for more panels at a time, and 1 x 4 reads L3 at
// 54 GB/s where 1 x 2 of octs reads 44 (Zen 3). What is safe for octs is safe for quads.
constexpr TileSet make_oct() {
  TileSet set = make_tiles<StepOct, OctRows>(kernels::RowForm::kU8);
  set.tile[1][2] = tile<StepQuad, 1, 2>;
  set.tile[2][2] = tile<StepQuad, 2, 2>;
  set.tile[1][4] = tile<StepQuad, 1, 4>;
  set.max_rows[2] = 2;
  set.max_rows[4] = 1;
  return set;
}
constexpr TileSet kOct = make_oct();

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

}  // namespace lowp::avx2
