// Equalization of channels before quantization (Xiao et al., "SmoothQuant: accurate and efficient post-training
// quantization for large language models", ICML 2023). A few channels of a transformer's activations are many times
// larger than the others and leave those too few of the steps that all share. Dividing channel c by s[c] and
// multiplying row c of the weights that read it by s[c] changes nothing in exact arithmetic, and moves what is hard to
// quantize from activations, which have one scale, to weights.
//
// The division costs nothing, or next to nothing, at run time. It becomes part of
//   gamma and beta of a layer normalization; where others read it too, a second one beside it gives the scaled result
//   weights and bias of a linear layer, with nothing, Relu, LeakyRelu or an attention (of which it gives the values)
//     between it and the activation: all of them are homogeneous
//   requantization behind another activation function of a linear layer: a Mul, which becomes the steps of the output's
//     channels (passes/fuse_epilogues.cc)
#pragma once

#include <map>
#include <string>
#include <vector>

#include "quant/channel_plan.h"
#include "quant/quantize.h"

namespace lowp::quant {

// Activations that do not scale with their input and that linear layers take into their epilogue: the division of their
// results' channels is a Mul behind them.
bool is_curved(const ir::Node* node);

// Values that equalize() can scale, by name. Layers that `scheme` keeps in FP32 do not count, nor do layers that share
// weights with another.
std::vector<std::string> equalizable_values(ir::Graph& graph, const Scheme& scheme);

// Scales the channels of these values and computes the largest several times, as plan_channels() says; `observers` has
// an entry for each of equalizable_values().
//
// Returns how many values were scaled.
Result<int> equalize(ir::Graph& graph, const Scheme& scheme, const std::map<std::string, ChannelObserver>& observers);

}  // namespace lowp::quant
