// What a target's translation unit of the rnn family offers for gradients.
#pragma once

#include "kernels/rnn/rnn_gradient.h"

namespace lowp::kernels {

// One step of the loop back in time.
struct RnnBackStep {
  int64_t step;      // in the order of the forward loop
  const float* acc;  // dh_prev of the step after this one but for `keep`: [batch, H]
  float* keep;       // GRU: the part of dh_prev that is no product, [batch, H]
  float* dc;         // LSTM: [batch, H]
  float* d;          // left operand of the step's products: [batch, G H]
  float* dq;         // GRU: of all steps (linear_before_reset) [steps, batch, H]; else this step's product [batch, H]
  float* h_prev;     // [steps, batch, H] or null
  float* products;   // LSTM: [steps, batch, 3 H], what dpeephole adds up, or null
};

// Units [begin, end) of one item.
using RnnBackFn = void (*)(const RnnGradientArgs& args, const RnnBackStep& step, int64_t item, int64_t begin,
                           int64_t end);

struct RnnGradientTable {
  RnnBackFn lstm;
  RnnBackFn gru;         // linear_before_reset
  RnnBackFn gru_first;   // otherwise: dn_pre, dz_pre and dh z
  RnnBackFn gru_second;  // then, with dq: dr_pre
};

}  // namespace lowp::kernels
