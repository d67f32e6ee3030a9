// What equalization (equalize.h) does with the channels of an activation, and how it finds out what is best.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "ir/graph.h"

namespace lowp::quant {

// What calibration remembers of an activation [..., C] for each channel: extremes (zero included) and mean square.
class ChannelObserver {
 public:
  // `values` is [rows, channels]; every call has the same number of channels.
  void observe(std::span<const float> values, int64_t channels);
  float low(size_t c) const { return low_[c]; }
  float high(size_t c) const { return high_[c]; }
  double power(size_t c) const { return rows_ == 0 ? 0 : squares_[c] / static_cast<double>(rows_); }

 private:
  int64_t rows_ = 0;
  std::vector<float> low_, high_;
  std::vector<double> squares_;
};

// One of the channels that an activation has afterwards.
struct Channel {
  size_t source = 0;  // of the activation as it was
  int copy = 0;       // which of `copies` channels that are made of `source`
  int copies = 1;
};

struct ChannelPlan {
  std::vector<float> scales;      // channel c as it was is divided by scales[c]
  std::vector<Channel> channels;  // as many as there were, or more
};

// The constant weights of a MatMul or Gemm as a table of inputs and outputs, whichever way they lie.
class WeightMatrix {
 public:
  explicit WeightMatrix(const ir::Node* product);
  int64_t inputs() const { return inputs_; }
  int64_t outputs() const { return outputs_; }
  float at(size_t input, size_t output) const {
    return weights_
        .data<float>()[static_cast<int64_t>(input) * input_stride_ + static_cast<int64_t>(output) * output_stride_];
  }
  // The weights that compute the planned channels times factors, one for each channel as it was.
  ir::Tensor computing(const ChannelPlan& plan, std::span<const float> factors) const;
  // The weights that read the planned channels. Copies have equal shares, but for fractions of the step that INT8
  // will have: so the rounded shares add up to what the undivided weight in steps as fine as theirs would be (Hermite's
  // identity; Zhao et al. 2019 call it quantization-aware splitting).
  ir::Tensor reading(const ChannelPlan& plan) const;

 private:
  bool transposed_ = false;  // [outputs, inputs]
  ir::Tensor weights_;
  int64_t inputs_ = 0, outputs_ = 0, input_stride_ = 0, output_stride_ = 0;
};

// The scales are magnitude(x[c])^a / magnitude(w[c, :])^(1 - a) (SmoothQuant), the magnitude of x[c] being its largest
// value or `r` times its lowest, whichever is more: zero points make uneven ranges cheap, and behind GELU all channels
// reach down as far. Of several a and r those are taken that leave the least expected error in what the readers
// compute; none where that is more than without scales.
//
// With `may_copy` a few channels may be computed several times, with a part of their weights each, where that lessens
// the error a lot: outlier channel splitting (Zhao, Hu, Dotzel, De Sa and Zhang, "Improving neural network quantization
// without retraining using outlier channel splitting", ICML 2019). A channel of BERT's feed-forward layers is several
// times larger than the others for one token of a text; scaled to their size it wants weights so large that all others
// of their column are left a few steps.
//
// `levels` is how many steps the activation will have.
std::optional<ChannelPlan> plan_channels(const ChannelObserver& seen, std::span<const WeightMatrix> readers, int levels,
                                         bool may_copy);

}  // namespace lowp::quant
