// The recurrent half of LSTM and GRU layers (Hochreiter and Schmidhuber 1997 with the gates of ONNX; Cho et al. 2014).
// The input's half, xw = x W^T + b for all steps at once, is a GEMM of its own.
//
// H hidden units, G gates: 4 (i, o, f, c) or 3 (z, r, h), in ONNX's order. With s(x) = 1 / (1 + exp(-x)), clip(x) to
// [-clip, clip] where there is one, p the peepholes, and h R^T computed as in gemm.h:
//
// LSTM  i = s(clip(xw_i + hR_i + p_i c))      (p_i c is added by fma, after the sum of the other two)
//       f = s(clip(xw_f + hR_f + p_f c)), or 1 - i where coupled
//       c' = fma(f, c, i tanh(clip(xw_c + hR_c)))
//       o = s(clip(xw_o + hR_o + p_o c')),  h' = o tanh(clip(c'))
// GRU   z = s(clip(xw_z + hR_z)),  r = s(clip(xw_r + hR_r))
//       n = tanh(clip(xw_h + (r h) R_h)), or tanh(clip(fma(r, hR_h + b_h, xw_h))) with linear_before_reset
//       h' = fma(z, h - n, n)
// In the first step without an initial state the products are left out, not computed with zeros.
//
// INT8: h (and r h) are quantized to u8 before each product: q = s32(rne(clamp(h * h_inv_scale, -h_zero, h_max -
// h_zero))) + h_zero; the product is exact s32, (acc + r_bias[n]) * r_scale[n] in f32. Gates and states stay f32; s and
// tanh are sigmoid_coarse and tanh_coarse (simd/math.h), which are off by a hundredth of a step of h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gemm/pack.h"

namespace lowp::kernels {

enum class RnnKind : uint8_t { kLstm, kGru };
constexpr int64_t rnn_gates(RnnKind kind) { return kind == RnnKind::kLstm ? 4 : 3; }

struct RnnArgs {
  RnnKind kind = RnnKind::kLstm;
  int64_t steps = 0, batch = 0, hidden = 0;
  bool reverse = false;  // each item from its last step to its first
  float clip = 0;        // 0: none
  bool coupled = false;  // LSTM: f = 1 - i
  bool linear_before_reset = false;

  WeightKind r_kind = WeightKind::kF32;
  Int8Class int8_class = Int8Class::kExact8;
  // R^T packed: LSTM [H, 4H]; GRU [H, 2H] (z, r), then [H, H], each packed on its own (packed_rnn_bytes).
  const void* r = nullptr;
  const float* r_scale = nullptr;   // INT8: [G H], scale of h times the weights'
  const int32_t* r_bias = nullptr;  // INT8: [G H], fold_zero_point of h_zero
  float h_inv_scale = 127;
  int32_t h_zero = 128, h_max = 255;

  const float* xw = nullptr;           // [steps, batch, G H], biases included
  const float* hidden_bias = nullptr;  // GRU with linear_before_reset: b_h [H], or null
  const float* peephole = nullptr;     // LSTM: [3 H] of i, o, f, or null
  const int32_t* lengths = nullptr;    // [batch] in 0..steps, or null: all steps
  const float* h0 = nullptr;           // [batch, H], or null: zeros
  const float* c0 = nullptr;
  float* y = nullptr;    // [steps, batch, H], zeros beyond an item's length; may be null
  float* y_h = nullptr;  // [batch, H], the last state; may be null, and may be h0
  float* y_c = nullptr;  // LSTM; may be null, and may be c0

  // What the gradient needs (rnn_gradient.h), zeros beyond an item's length; may be null.
  float* gates = nullptr;  // [steps, batch, 4 H]: LSTM i, o, f, tanh(..c..); GRU z, r, n and q, which is r h, or
                           // h R_h + b_h with linear_before_reset
  float* cells = nullptr;  // LSTM: c' [steps, batch, H]
};

size_t packed_rnn_bytes(WeightKind kind, RnnKind rnn, int64_t hidden);
// r: [G H, H] as ONNX has it, f32 or of the kind's own type.
void pack_rnn(WeightKind kind, RnnKind rnn, DType r_dtype, const void* r, int64_t hidden, void* dst);

// The same of f32 R to kF32 or kBF16, on several threads, for R that changes from run to run.
void pack_changing_rnn(WeightKind kind, RnnKind rnn, const float* r, int64_t hidden, void* dst, int threads);

// Bytes of 64-byte aligned scratch; depends on sizes and types only.
size_t rnn_scratch(const RnnArgs& args, int threads);
void rnn(const RnnArgs& args, void* scratch, int threads);

}  // namespace lowp::kernels
