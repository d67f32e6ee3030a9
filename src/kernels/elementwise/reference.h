// The contract of elementwise.h, one value at a time, for tests and for references of other families.
#pragma once

#include "kernels/elementwise/elementwise.h"

namespace lowp::kernels::reference {

float unary(Unary op, UnaryParams params, float x);
float binary(Binary op, float a, float b);
void binary_f32(Binary op, const Broadcast& broadcast, const float* a, const float* b, float* y);

inline float exp(float x) { return unary(Unary::kExp, {}, x); }
inline float log(float x) { return unary(Unary::kLog, {}, x); }

}  // namespace lowp::kernels::reference
