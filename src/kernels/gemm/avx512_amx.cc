// AMX: tiles of INT8 and BF16; the rest is avx512_bf16's.
#include "kernels/gemm/amx.inl.h"

namespace lowp::avx512_amx {
namespace {

constexpr TileSet kInt8 = make_amx_tiles<DotInt8>(kernels::RowForm::kU8);
constexpr TileSet kBF16 = make_amx_tiles<DotBF16>(kernels::RowForm::kBF16);

}  // namespace

extern const kernels::GemmTable gemm_kernels;
const kernels::GemmTable gemm_kernels = {
    .s8_amx = &kInt8,
    .bf16_amx = &kBF16,
};

}  // namespace lowp::avx512_amx
