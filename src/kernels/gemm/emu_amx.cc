// AMX emulated, so that its code is tested on every machine; the rest is emu512's.
#define LOWP_EMULATE_AMX
#include "kernels/gemm/amx.inl.h"

namespace lowp::emu_amx {
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

}  // namespace lowp::emu_amx
