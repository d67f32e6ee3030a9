// Quantization-aware training as a change of the graph (Jacob et al., "Quantization and training of neural networks for
// efficient integer-arithmetic-only inference", CVPR 2018): lowp.FakeQuantize nodes where the compiled model will have
// INT8, and, after training, QuantizeLinear and DequantizeLinear in their places.
#pragma once

#include <set>

#include "ir/graph.h"

namespace lowp::quant {

struct FakeQuantization {
  int levels = 255;       // of activations: 255 (u8) or 127 (seven bits)
  float momentum = 0.1F;  // of ranges: what a batch's extremes count for (ops/fake_quantize.cc)
  bool observe = true;    // ranges and scales follow the data; else they stay as they are
  bool equalize = true;   // channels of transformers' activations share the range evenly
  // Layers that stay float: names of nodes, or what names begin with up to a dot ("layer1.0").
  std::set<std::string, std::less<>> exclude;
};

// To be called on a float graph before mixed precision and gradients. Layers are Conv, Gemm and MatMul whose weights
// are an f32 state, by way of Transpose, Reshape and the like.
//
//   weights       w -> FakeQuantize {symmetric}, a range for each output channel: the extremes of the channel now
//   activations   x -> FakeQuantize, ranges being the states "<w>:input.low" and "<w>:input.high"; a value that several
//                 layers read has one range, named after the first. So has the shortcut of a residual block that is
//                 added to a convolution's result ("<w>:residual.low"), unless a layer reads it too.
//                 Behind a layer normalization, or GELU and its like where only products read it, channels are
//                 equalized (equalize.h): x / scales is what is rounded, and w scales, scales being the state
//                 "<w>:input.scales" (ops/observe_channels.cc says what it follows).
//   Conv -> BatchNormalization (running statistics: batch norm is frozen) becomes one convolution with weights
//                 w * gamma / sqrt(var + epsilon), which are what is quantized. Behind a convolution whose batch norm
//                 still moves w itself is quantized; with a scale a channel the steps are the same ones.
//
// Returns the names of the ranges' states, of which a training graph and one for evaluation of the same model have the
// same. kInvalidArgument where an excluded layer does not exist, or no layer is left.
Result<std::vector<std::string>> insert_fake_quantization(ir::Graph& graph, const FakeQuantization& options);

// For a graph whose states have become constants: FakeQuantize of activations becomes QuantizeLinear and
// DequantizeLinear (behind a Clip for seven bits), of weights INT8 constants and DequantizeLinear, with exactly the
// scales of training (but for channels that training switched off, whose bias would not fit). The division by an
// activation's scales becomes part of a layer normalization or a Mul. compile() to INT8 takes that as it is, without
// calibration. Other graphs stay as they are. kCalibration where a range has never been
// observed.
Status export_fake_quantization(ir::Graph& graph);

}  // namespace lowp::quant
