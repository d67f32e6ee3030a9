#define LOWP_TARGET elementwise_reference
#include "kernels/elementwise/reference.h"

#include "simd/math.h"
#include "simd/pow.h"

namespace lowp::elementwise_reference {
namespace {

float unary_value(kernels::Unary op, [[maybe_unused]] kernels::UnaryParams p, float value) {
  F32 x = set(value);
  switch (op) {
// clang-format off
#define LOWP_UNARY(name, formula) \
  case kernels::Unary::k##name: return first(formula);
#include "kernels/elementwise/kernels.inc"
    // clang-format on
    case kernels::Unary::kCount: break;
  }
  return 0.0f;
}

float binary_value(kernels::Binary op, float value_a, float value_b) {
  F32 a = set(value_a), b = set(value_b);
  switch (op) {
// clang-format off
#define LOWP_BINARY(name, formula) \
  case kernels::Binary::k##name: return first(formula);
#include "kernels/elementwise/kernels.inc"
    // clang-format on
    case kernels::Binary::kCount: break;
  }
  return 0.0f;
}

}  // namespace
}  // namespace lowp::elementwise_reference

namespace lowp::kernels::reference {

float unary(Unary op, UnaryParams params, float x) { return elementwise_reference::unary_value(op, params, x); }
float binary(Binary op, float a, float b) { return elementwise_reference::binary_value(op, a, b); }

void binary_f32(Binary op, const Broadcast& nest, const float* a, const float* b, float* y) {
  int64_t count = 1;
  for (int i = 0; i < nest.rank; ++i) count *= nest.dims[i];
  for (int64_t r = 0; r < count; ++r) {
    int64_t rest = r, ia = 0, ib = 0;
    for (int i = nest.rank - 1; i >= 0; --i) {
      ia += rest % nest.dims[i] * nest.a_strides[i];
      ib += rest % nest.dims[i] * nest.b_strides[i];
      rest /= nest.dims[i];
    }
    y[r] = binary(op, a[ia], b[ib]);
  }
}

}  // namespace lowp::kernels::reference
