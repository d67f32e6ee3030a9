// AMX: tiles of INT8 and BF16; the rest is avx512_bf16's.
#include "kernels/gemm/amx.inl.h"

namespace lowp::avx512_amx {
namespace {

constexpr TileSet kInt8 = make_amx_tiles<DotInt8>(kernels::RowForm::kU8);
constexpr TileSet kBF16 = make_amx_tiles<DotBF16>(kernels::RowForm::kBF16);

}  // namespace

extern const kernels::GemmTable gemm_kernels;
const kernels::GemmTable gemm_kernels = {
    .f32 = nullptr,
    .bf16_dot = nullptr,
    .bf16_wide = nullptr,
    .s8_exact = nullptr,
    .s8_quad = nullptr,
    .s8_oct = nullptr,
    .s8_amx = &kInt8,
    .bf16_amx = &kBF16,
    .gather = nullptr,
    .expand_bf16 = nullptr,
    .expand_f16 = nullptr,
    .epilogue_f32 = nullptr,
    .epilogue_s32 = nullptr,
};

}  // namespace lowp::avx512_amx
