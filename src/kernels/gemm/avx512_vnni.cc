// AVX-512 with VNNI: the INT8 tiles; the rest is avx512's.
#include "kernels/gemm/gemm.inl.h"

namespace lowp::avx512_vnni {
namespace {

// As avx512.cc.
struct Rows {
  static constexpr int kRows[] = {0, 14, 14, 9, 6, 0, 4};
};
constexpr TileSet kS8 = make_tiles<StepDot, Rows>(kernels::RowForm::kU8);

}  // namespace

extern const kernels::GemmTable gemm_kernels;
const kernels::GemmTable gemm_kernels = {
    .f32 = nullptr,
    .bf16_dot = nullptr,
    .bf16_wide = nullptr,
    .s8_exact = &kS8,
    .s8_quad = &kS8,
    .s8_oct = &kS8,
    .s8_amx = nullptr,
    .bf16_amx = nullptr,
    .gather = nullptr,
    .expand_bf16 = nullptr,
    .expand_f16 = nullptr,
    .epilogue_f32 = nullptr,
    .epilogue_s32 = nullptr,
};

}  // namespace lowp::avx512_vnni
