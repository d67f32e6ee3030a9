// Naive recurrence, what tests trust.
#pragma once

#include "kernels/rnn/rnn.h"

namespace lowp::kernels::reference {

// bf16_dot: as targets with vdpbf16ps compute bf16 weights.
void rnn(const RnnArgs& args, bool bf16_dot);

}  // namespace lowp::kernels::reference
