// Naive recurrence, what tests trust.
#pragma once

#include "kernels/gemm/gemm.h"
#include "kernels/rnn/rnn.h"

namespace lowp::kernels::reference {

// bf16: how bf16 weights are multiplied.
void rnn(const RnnArgs& args, BF16Products bf16);

}  // namespace lowp::kernels::reference
