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
    .s8_amx = &kInt8,
    .bf16_amx = &kBF16,
};

}  // namespace lowp::emu_amx
