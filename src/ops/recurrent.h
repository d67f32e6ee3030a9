// ONNX's recurrent ops LSTM, GRU and RNN, and lowp.LSTM and lowp.GRU, the recurrent half of one direction of a layer.
//
// lowp.LSTM, lowp.GRU operands: 0 xw [S, B, G H], the input's half with the biases (W x + Wb + Rb); 1 r, [G H, H] as in
// ONNX (f32, and may vary) or 1-d in packed order (kernels/rnn/rnn.h); 2 scale f32 [G H] and 3 bias s32 [G H], INT8
// only; 4 lengths [B] i32; 5 initial h [B, H]; LSTM: 6 initial c [B, H], 7 peepholes [3 H]; GRU: 6 b_h [H] of
// linear_before_reset. From 2 on all are optional. Outputs: 0 y [S, B, H], 1 last h [B, H], LSTM: 2 last c [B, H]; then
// what the gradient needs: gates [S, B, 4 H] (LSTM i, o, f, c after activation; GRU z, r, h and q of rnn.h) and, LSTM,
// cells [S, B, H].
//
// lowp.LSTMGradient, lowp.GRUGradient {as the forward op; without a clip}: operands 0 r [G H, H], 1 gates, 2 y, 3 dy,
// 4 d of last h, 5 lengths, 6 initial h, LSTM: 7 cells, 8 d of last c, 9 initial c, 10 peepholes; 3 to 6 and 8 to 10
// are optional. Outputs: 0 dxw, 1 dr, 2 d of initial h, then LSTM: 3 d of initial c, 4 dpeepholes; GRU: 3 db_h.
#pragma once

#include <functional>

#include "kernels/rnn/rnn.h"
#include "ops/op_def.h"

namespace lowp::ops {

// Of LSTM, GRU and RNN.
struct RecurrentAttrs {
  std::vector<std::string> activations;
  std::vector<float> activation_alpha;
  std::vector<float> activation_beta;
  float clip = 0;
  std::string direction = "forward";
  int64_t hidden_size = 0;  // 0: as in R
  int64_t layout = 0;
  int64_t input_forget = 0;         // LSTM
  int64_t linear_before_reset = 0;  // GRU
  bool operator==(const RecurrentAttrs&) const = default;
  int64_t directions() const { return direction == "bidirectional" ? 2 : 1; }
  static constexpr auto fields() {
    using S = RecurrentAttrs;
    return std::tuple(ir::field("activations", &S::activations), ir::field("activation_alpha", &S::activation_alpha),
                      ir::field("activation_beta", &S::activation_beta), ir::field("clip", &S::clip),
                      ir::field("direction", &S::direction), ir::field("hidden_size", &S::hidden_size),
                      ir::field("layout", &S::layout), ir::field("input_forget", &S::input_forget),
                      ir::field("linear_before_reset", &S::linear_before_reset));
  }
};

// Of lowp.LSTM and lowp.GRU.
struct RecurrenceAttrs {
  int64_t hidden = 0;
  bool reverse = false;
  float clip = 0;
  bool coupled = false;
  bool linear_before_reset = false;
  // INT8: how h is quantized (u8). 0 where it is not.
  float h_scale = 0;
  int64_t h_zero = 0;
  int64_t h_max = 255;
  int64_t int8_class = 0;  // kernels::Int8Class
  // Training in bf16: products of f32 operands with R are of bf16 on targets that multiply it (kernels::product_kind).
  bool bf16_products = false;
  bool operator==(const RecurrenceAttrs&) const = default;
  static constexpr auto fields() {
    using S = RecurrenceAttrs;
    return std::tuple(ir::required_field("hidden", &S::hidden), ir::field("reverse", &S::reverse),
                      ir::field("clip", &S::clip), ir::field("coupled", &S::coupled),
                      ir::field("linear_before_reset", &S::linear_before_reset), ir::field("h_scale", &S::h_scale),
                      ir::field("h_zero", &S::h_zero), ir::field("h_max", &S::h_max),
                      ir::field("int8_class", &S::int8_class), ir::field("bf16_products", &S::bf16_products));
  }
};
inline constexpr size_t kRecurrenceXw = 0;
inline constexpr size_t kRecurrenceR = 1;
inline constexpr size_t kRecurrenceScale = 2;
inline constexpr size_t kRecurrenceBias = 3;
inline constexpr size_t kRecurrenceLengths = 4;
inline constexpr size_t kRecurrenceH = 5;
inline constexpr size_t kRecurrenceC = 6;           // LSTM
inline constexpr size_t kRecurrencePeephole = 7;    // LSTM
inline constexpr size_t kRecurrenceHiddenBias = 6;  // GRU
constexpr size_t recurrence_gates_output(bool lstm) { return lstm ? 3 : 2; }
inline constexpr size_t kRecurrenceCells = 4;  // output of LSTM

inline constexpr size_t kBackR = 0;
inline constexpr size_t kBackGates = 1;
inline constexpr size_t kBackY = 2;
inline constexpr size_t kBackDy = 3;
inline constexpr size_t kBackDh = 4;
inline constexpr size_t kBackLengths = 5;
inline constexpr size_t kBackH = 6;
inline constexpr size_t kBackCells = 7;
inline constexpr size_t kBackDc = 8;
inline constexpr size_t kBackC = 9;
inline constexpr size_t kBackPeephole = 10;

// kInvalidArgument where a length is outside 0..steps; lengths are i32 [batch].
Status check_lengths(const int32_t* lengths, int64_t batch, int64_t steps);

// R [G H, H] in packed order, converted to `dtype` from f32; s8 weights stay s8.
Tensor pack_recurrent_weights(const Tensor& r, kernels::RnnKind kind, DType dtype);

// One direction, naive and in double: what the references of all five ops share.
struct NaiveRecurrence {
  enum class Kind : uint8_t { kLstm, kGru, kRnn };
  Kind kind = Kind::kLstm;
  int64_t steps = 0, batch = 0, hidden = 0;
  bool reverse = false, coupled = false, linear_before_reset = false;
  double clip = 0;
  std::vector<std::function<double(double)>> activations;  // f, g, h of ONNX
  std::vector<double> xw;                                  // [S, B, G H]
  std::vector<double> hidden_bias, peephole;               // empty where absent
  std::vector<int64_t> lengths;                            // [B]
  std::vector<double> h, c;                                // [B, H], initial and then last
  std::vector<double> y;                                   // [S, B, H]
  std::vector<double> gates, cells;                        // [S, B, 4 H], [S, B, H]; not of kRnn
  // Row n of R times a state of H elements.
  std::function<double(const double* state, int64_t n)> product;
  void run();

 private:
  void step(int64_t row, int64_t item);
  void keep(int64_t row, int64_t gate, int64_t j, double v) {
    gates[static_cast<size_t>((row * 4 + gate) * hidden + j)] = v;
  }
};

}  // namespace lowp::ops
