// What a target's translation unit of the convert family offers.
#pragma once

#include "kernels/convert/convert.h"

namespace lowp::kernels {

struct ConvertTable {
  void (*expand)(const ExpandMatrix& matrix);
};

}  // namespace lowp::kernels
