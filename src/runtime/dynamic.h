// Graphs whose shapes depend on data (NonZero and the like): run node by node, shapes inferred as values become known.
// Slower than a plan and allocating; everything that a plan can bind goes through a plan.
#pragma once

#include "ops/op_def.h"

namespace lowp::runtime {

// Sees inputs, states and then every node's outputs as they are computed; false ends the run with kCancelled.
using ValueObserver = std::function<bool(const ir::Value& value, const Tensor& tensor)>;

// The new content of states is written to the tensors given.
Result<std::vector<Tensor>> run_node_by_node(const ir::Graph& graph, std::span<const Tensor> inputs,
                                             std::vector<Tensor>& states, int threads,
                                             const ValueObserver& observe = nullptr);

}  // namespace lowp::runtime
