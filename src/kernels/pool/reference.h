// The contract of pool.h, naively, for tests.
#pragma once

#include "kernels/pool/pool.h"

namespace lowp::kernels::reference {

void max_pool(const PoolArgs& args, DType dtype, const void* x, void* y);
void average_pool_f32(const PoolArgs& args, const float* x, float* y);
void average_pool_q8(const PoolArgs& args, const PoolQuantization& quantization, const void* x, void* y);

}  // namespace lowp::kernels::reference
