// Planes of an image brought to pixels: loops that gcc makes shuffles of, where the target has those of bytes.
#pragma once

#include "kernels/layout/table.h"

namespace lowp::LOWP_TARGET {
namespace {

template <typename T>
void interleave(const T* x, int64_t plane_step, int64_t planes, T* y, int64_t n) {
  const T* __restrict x0 = x, * __restrict x1 = x + plane_step;
  T* __restrict to = y;
  if (planes == 2) {
    for (int64_t i = 0; i < n; ++i) to[2 * i] = x0[i], to[2 * i + 1] = x1[i];
    return;
  }
  const T* __restrict x2 = x1 + plane_step;
  if (planes == 3) {
    for (int64_t i = 0; i < n; ++i) to[3 * i] = x0[i], to[3 * i + 1] = x1[i], to[3 * i + 2] = x2[i];
    return;
  }
  const T* __restrict x3 = x2 + plane_step;
  for (int64_t i = 0; i < n; ++i) {
    to[4 * i] = x0[i], to[4 * i + 1] = x1[i], to[4 * i + 2] = x2[i], to[4 * i + 3] = x3[i];
  }
}

}  // namespace

extern const kernels::LayoutTable layout_table;
const kernels::LayoutTable layout_table = {
    .interleave_1 = interleave<uint8_t>,
    .interleave_2 = interleave<uint16_t>,
    .interleave_4 = interleave<uint32_t>,
};

}  // namespace lowp::LOWP_TARGET
