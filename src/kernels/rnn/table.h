// What a target's translation unit of the rnn family offers.
#pragma once

#include "kernels/rnn/rnn.h"

namespace lowp::kernels {

// One step of the loop over time. `acc` is h R^T [batch, ld], or null where h is zero.
struct RnnStep {
  int64_t step;  // from 0, in the order of the loop
  const float* acc;
  float* h;    // [batch, H]
  float* c;    // LSTM
  float* z;    // GRU without linear_before_reset: [batch, H], from `gates` to `finish`
  float* rh;   // likewise: r h
  uint8_t* q;  // INT8: [batch, H], the next product's operand
};

// Units [begin, end) of one item.
using RnnUnitsFn = void (*)(const RnnArgs& args, const RnnStep& step, int64_t item, int64_t begin, int64_t end);

struct RnnUnits {
  RnnUnitsFn lstm;        // acc [batch, 4H] to h, c, y, q
  RnnUnitsFn gru;         // linear_before_reset: acc [batch, 3H] to h, y, q
  RnnUnitsFn gru_gates;   // acc [batch, 2H] to z, rh, q
  RnnUnitsFn gru_finish;  // acc [batch, H] to h, y, q
};
struct RnnTable {
  RnnUnits exact, coarse;  // coarse: INT8
  // h as it is to q.
  RnnUnitsFn quantize;
};

}  // namespace lowp::kernels
