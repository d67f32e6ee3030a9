// The measured arithmetic peak of one core, for the benchmarks' "of peak".
#pragma once

#include <cstdint>

#include "kernels/gemm/pack.h"

namespace lowp::kernels {

// Multiply-accumulates a second of the active target's best instruction for the kind, on this core now. Measured once a
// kind; 0 where it is not known.
double peak_macs(WeightKind kind, Int8Class int8_class);

}  // namespace lowp::kernels
