// Inside the layout family: what a target's translation unit offers to layout.cc.
#pragma once

#include <cstdint>

namespace lowp::kernels {

inline constexpr int64_t kMaxPlanes = 4;

struct LayoutTable {
  // y[i * planes + p] = x[p * plane_step + i] for i in [0, n); planes is 2 to kMaxPlanes, steps count elements of T.
  void (*interleave_1)(const uint8_t* x, int64_t plane_step, int64_t planes, uint8_t* y, int64_t n);
  void (*interleave_2)(const uint16_t* x, int64_t plane_step, int64_t planes, uint16_t* y, int64_t n);
  void (*interleave_4)(const uint32_t* x, int64_t plane_step, int64_t planes, uint32_t* y, int64_t n);
};

}  // namespace lowp::kernels
