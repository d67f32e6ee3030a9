// The AVX-512 tiles over plain C++, with exact VNNI and vdpbf16ps.
#define LOWP_EMULATE_BF16_DOT
#include "kernels/gemm/epilogue.inl.h"
#include "kernels/gemm/gather.inl.h"
#include "kernels/gemm/gemm.inl.h"

namespace lowp::emu512 {
namespace {

// Fewer rows than avx512.cc: the same code in less time to compile.
struct Rows {
  static constexpr int kRows[] = {0, 5, 4, 3, 0, 0, 1};
};
constexpr TileSet kF32 = make_tiles<StepF32, Rows>(kernels::RowForm::kF32);
constexpr TileSet kBF16 = make_tiles<StepBF16, Rows>(kernels::RowForm::kBF16);
constexpr TileSet kS8 = make_tiles<StepDot, Rows>(kernels::RowForm::kU8);
constexpr TileSet kS16 = make_tiles<StepS16, Rows>(kernels::RowForm::kS16);

}  // namespace

extern const kernels::GemmTable gemm_kernels;
const kernels::GemmTable gemm_kernels = {
    .f32 = &kF32,
    .bf16_dot = &kBF16,
    .s8_exact = &kS8,
    .s8_quad = &kS8,
    .s8_oct = &kS8,
    .s16 = &kS16,
    .gather = kGather,
    .expand_bf16 = expand_bf16,
    .expand_f16 = expand_f16,
    .epilogue_f32 = epilogue_tile<FloatIn>,
    .epilogue_s32 = epilogue_int,
};

}  // namespace lowp::emu512
