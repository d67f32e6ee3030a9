// Graphs whose shapes depend on data (NonZero and the like): run node by node, shapes inferred as values become known.
// Slower than a plan and allocating; everything that a plan can bind goes through a plan.
#pragma once

#include "ops/op_def.h"

namespace lowp::runtime {

Result<std::vector<Tensor>> run_node_by_node(const ir::Graph& graph, std::span<const Tensor> inputs,
                                             std::vector<Tensor>& states, int threads);

}  // namespace lowp::runtime
