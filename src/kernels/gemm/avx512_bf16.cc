// AVX-512 with BF16: vdpbf16ps tiles and their epilogue; the rest is avx512_vnni's.
#include "kernels/gemm/epilogue.inl.h"
#include "kernels/gemm/gemm.inl.h"

namespace lowp::avx512_bf16 {
namespace {

// As avx512.cc.
struct Rows {
  static constexpr int kRows[] = {0, 14, 14, 9, 6, 0, 4};
};
constexpr TileSet kBF16 = make_tiles<StepBF16, Rows>(kernels::RowForm::kBF16);

}  // namespace

extern const kernels::GemmTable gemm_kernels;
const kernels::GemmTable gemm_kernels = {
    .bf16_dot = &kBF16,
    .epilogue_f32 = epilogue_tile<FloatIn>,  // rounds to bf16 in one instruction
};

}  // namespace lowp::avx512_bf16
