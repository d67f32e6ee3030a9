// Plain C++ for any CPU.
#include "kernels/gemm/epilogue.inl.h"
#include "kernels/gemm/gather.inl.h"
#include "kernels/gemm/gemm.inl.h"

namespace lowp::scalar {
namespace {

struct Rows {
  static constexpr int kRows[] = {0, 4, 0, 0, 0, 0, 0};
};
constexpr TileSet kF32 = make_tiles<StepF32, Rows>(kernels::RowForm::kF32);
constexpr TileSet kS8 = make_tiles<StepDot, Rows>(kernels::RowForm::kU8);
constexpr TileSet kS16 = make_tiles<StepS16, Rows>(kernels::RowForm::kS16);

}  // namespace

extern const kernels::GemmTable gemm_kernels;
const kernels::GemmTable gemm_kernels = {
    .f32 = &kF32,
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

}  // namespace lowp::scalar
