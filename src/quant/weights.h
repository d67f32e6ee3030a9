// Symmetric INT8 weights with a scale for each output channel.
#pragma once

#include <span>
#include <vector>

#include "ir/tensor.h"
#include "kernels/gemm/pack.h"

namespace lowp::quant {

// Where the weights of a channel lie: number k, in the order in which kernels add them, at channel * stride +
// offsets[k].
struct ChannelOrder {
  int64_t channels = 0, stride = 0;
  std::vector<int64_t> offsets;

  // Channels along `axis`; k is the others' linear index.
  static ChannelOrder along_axis(const ir::Tensor& w, int axis);
  // Filters O x C x KH x KW (or O x C x K): k is (kh, kw, c).
  static ChannelOrder of_filters(const ir::Tensor& w);
};

struct QuantizedWeights {
  ir::Tensor values;           // s8 in -127..127, shape of the source
  ir::Tensor scales;           // f32 [channels]
  std::vector<double> errors;  // squared error of each channel
};

// Rounds the f32 tensor `w`. Each channel has the scale with the least squared error that a search from the one of its
// largest magnitude finds: clipping may cost less than coarser steps. Where given, no channel's scale is below its
// least_scales: the weights of a channel that training switched off may be so small that its bias does not fit 32 bit
// otherwise.
//
// With an A7 class no lane exceeds its limit (kernels/gemm/pack.h): weights of a lane that would are moved towards
// zero, each step where it costs least, and the scale is the best for the weights so moved. At the best scale, Gaussian
// weights have 0.2 dB (quads) and 2 dB (octs) more error than without; at the scale of the largest magnitude it would
// be 7 dB.
QuantizedWeights quantize_weights(const ir::Tensor& w, const ChannelOrder& order,
                                  kernels::Int8Class int8_class = kernels::Int8Class::kExact8,
                                  std::span<const float> least_scales = {});

// The A7 class with the fewest instructions whose limit at most doubles the error that rounding alone leaves, averaged
// over the channels; else the exact class, whose kernels take any weights.
QuantizedWeights quantize_weights_a7(const ir::Tensor& w, const ChannelOrder& order,
                                     std::span<const float> least_scales = {});

}  // namespace lowp::quant
