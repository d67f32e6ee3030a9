// The contract of attention.h, naively, for tests.
#pragma once

#include "kernels/attention/attention.h"

namespace lowp::kernels::reference {

void attention(const AttentionArgs& args);

}  // namespace lowp::kernels::reference
