// AVX-512 with VNNI: the INT8 tiles; the rest is avx512's.
#include "kernels/gemm/gemm.inl.h"

namespace lowp::avx512_vnni {
namespace {

// As avx512.cc.
struct Rows {
  static constexpr int kRows[] = {0, 14, 14, 9, 6, 0, 4};
};
constexpr TileSet kS8 = make_tiles<StepDot, Rows>(kernels::RowForm::kU8);
struct WordRows {
  static constexpr int kRows[] = {0, 14, 14, 0, 0, 0, 0};
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

}  // namespace lowp::avx512_vnni
