// Less memory for more time: values computed anew for the gradients instead of being kept (Chen et al., "Training Deep
// Nets with Sublinear Memory Cost", 2016).
#pragma once

#include "ops/op_def.h"

namespace lowp::autograd {

// `forward` are the nodes from before build_gradients(). A part is the forward nodes whose names start with one of the
// prefixes; what such a node computes and only its own part reads is not kept for the gradients: they read copies of
// the nodes instead, which stand right before the first gradient that needs them. What other parts read, inputs, states
// and constants are kept. Random ops are keyed by seed and step, so a copy computes the same bits. kInvalidArgument
// where a prefix fits no node.
Status recompute(ir::Graph& graph, const std::vector<ir::Node*>& forward, const std::vector<std::string>& prefixes);

}  // namespace lowp::autograd
