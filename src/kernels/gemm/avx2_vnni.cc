// AVX2 with AVX-VNNI: the INT8 tiles; the rest is avx2's.
#include "kernels/gemm/gemm.inl.h"

namespace lowp::avx2_vnni {
namespace {

// 6 x 16: 12 accumulators, 2 of B, 1 of A.
struct Rows {
  static constexpr int kRows[] = {0, 6, 3, 0, 1, 0, 0};
};
constexpr TileSet kS8 = make_tiles<StepDot, Rows>(kernels::RowForm::kU8);
struct WordRows {
  static constexpr int kRows[] = {0, 6, 0, 0, 0, 0, 0};
};
constexpr TileSet kS16 = make_tiles<StepS16, WordRows>(kernels::RowForm::kS16);

}  // namespace

extern const kernels::GemmTable gemm_kernels;
const kernels::GemmTable gemm_kernels = {
    .s8_exact = &kS8,
    .s8_quad = &kS8,
    .s8_oct = &kS8,
    .s16 = &kS16,
};

}  // namespace lowp::avx2_vnni
