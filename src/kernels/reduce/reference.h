// The contract of reduce.h, naively, for tests; and the 16 virtual lanes for references of other families.
#pragma once

#include <cmath>

#include "kernels/reduce/reduce.h"

namespace lowp::kernels::reference {

inline float max_nan(float a, float b) { return a != a ? a : a > b ? a : b; }
inline float min_nan(float a, float b) { return a != a ? a : a < b ? a : b; }

// step(lane, i) gives lane i % 16 after element i; combine joins lanes in the contract's tree.
template <typename Step, typename Combine>
float lanes16(float identity, int64_t n, Step step, Combine combine) {
  float lanes[16];
  for (float& lane : lanes) lane = identity;
  for (int64_t i = 0; i < n; ++i) lanes[i % 16] = step(lanes[i % 16], i);
  for (int width = 8; width >= 1; width /= 2) {
    for (int l = 0; l < width; ++l) lanes[l] = combine(lanes[l], lanes[l + width]);
  }
  return lanes[0];
}

// Sum of value(i) in 16 lanes.
template <typename Value>
float lane_sum(int64_t n, Value value) {
  return lanes16(
      0.0f, n, [&](float acc, int64_t i) { return acc + value(i); }, [](float a, float b) { return a + b; });
}
// Sum of value(i)^2 in 16 lanes, by fma.
template <typename Value>
float lane_sum_square(int64_t n, Value value) {
  return lanes16(
      0.0f, n, [&](float acc, int64_t i) { return std::fma(value(i), value(i), acc); },
      [](float a, float b) { return a + b; });
}

void reduce_f32(Reduce op, const float* x, float* y, int64_t outer, int64_t n, int64_t inner);

}  // namespace lowp::kernels::reference
