// The contract of pool.h, naively, for tests.
#pragma once

#include "kernels/pool/pool.h"

namespace lowp::kernels::reference {

void max_pool(const PoolArgs& args, DType dtype, const void* x, void* y);
void average_pool(const PoolArgs& args, DType dtype, const void* x, void* y);
void max_pool_gradient(const PoolArgs& args, DType dtype, const void* dy, const void* x, void* dx);
void average_pool_gradient(const PoolArgs& args, DType dtype, const void* dy, void* dx);
void average_pool_q8(const PoolArgs& args, const PoolQuantization& quantization, const void* x, void* y);

}  // namespace lowp::kernels::reference
