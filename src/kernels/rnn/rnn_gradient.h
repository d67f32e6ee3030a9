// Backpropagation through time of rnn.h, without a clip: from what the forward pass kept (RnnArgs::gates, cells, y) and
// the gradients of its outputs, those of xw, R, the initial states and the peepholes or b_h. All f32 in memory.
//
// Of one step, dh being the gradient of its h (from dy and from the step after it), s' = s (1 - s) of a gate:
// LSTM  do = dh tanh(c),  dc' = fma(dh o, 1 - tanh(c)^2, dc) and, with peepholes, fma(do_pre, p_o, dc')
//       di = dc' g,  df = dc' c_prev,  dg = dc' i;  where coupled di = di - df and df = 0
//       dxw = (di i', do o', df f', dg (1 - g^2)),  dc_prev = dc' f (+ peepholes),  dh_prev = dxw R
// GRU   dn_pre = dh (1 - z) (1 - n^2),  dz_pre = dh (h_prev - n) z'
//       linear_before_reset, q = h R_h + b_h: dr_pre = dn_pre q r',  dq = dn_pre r,
//         dh_prev = (dz_pre, dr_pre, dq) R + dh z
//       else, q = r h_prev: dq = dn_pre R_h,  dr_pre = dq h_prev r',
//         dh_prev = (dz_pre, dr_pre) R_zr + fma(dq, r, dh z)
// dR is one product over the rows of all steps (gemm.h), dpeephole and db_h are sums over them (reduce.h). Without an
// initial state the first step's rows take no part in dR where no item has a length of its own.
#pragma once

#include "kernels/rnn/rnn.h"

namespace lowp::kernels {

struct RnnGradientArgs {
  RnnKind kind = RnnKind::kLstm;
  int64_t steps = 0, batch = 0, hidden = 0;
  bool reverse = false;
  bool coupled = false;              // LSTM
  bool linear_before_reset = false;  // GRU
  // kF32 or, where product_kind(kBF16) is that, kBF16: of the products, before which both operands are rounded.
  WeightKind r_kind = WeightKind::kF32;

  const float* r = nullptr;      // [G H, H], plain
  const float* gates = nullptr;  // [steps, batch, 4 H]
  const float* cells = nullptr;  // LSTM: [steps, batch, H]
  const float* y = nullptr;      // [steps, batch, H]
  const float* h0 = nullptr;     // [batch, H] or null
  const float* c0 = nullptr;
  const float* peephole = nullptr;   // [3 H] or null
  const int32_t* lengths = nullptr;  // [batch] or null
  const float* dy = nullptr;         // [steps, batch, H] or null: zeros, as are the next two
  const float* dh = nullptr;         // [batch, H], of the last h
  const float* dc = nullptr;         // of the last c

  float* dxw = nullptr;           // [steps, batch, G H]; zeros beyond an item's length
  float* dr = nullptr;            // [G H, H] or null
  float* dh0 = nullptr;           // [batch, H] or null
  float* dc0 = nullptr;           // or null
  float* dpeephole = nullptr;     // LSTM: [3 H] or null
  float* dhidden_bias = nullptr;  // GRU with linear_before_reset: [H] or null
};

// Bytes of 64-byte aligned scratch; depends on sizes, on which results are wanted and on whether there are lengths and
// initial states: null and other pointers count, their values do not.
size_t rnn_gradient_scratch(const RnnGradientArgs& args, int threads);
void rnn_gradient(const RnnGradientArgs& args, void* scratch, int threads);

}  // namespace lowp::kernels
