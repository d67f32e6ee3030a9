// Types of a whole graph, from the types of its inputs.
#pragma once

#include <unordered_map>

#include "ops/op_def.h"

namespace lowp {

// Types, and contents where they follow from constants and shapes alone, of one node's outputs.
struct Inferred {
  std::vector<TensorType> types;
  std::vector<Tensor> known;  // invalid where the content depends on data
};
// A node whose inputs are all known is evaluated when its outputs have at most `max_elements` elements in all.
Result<Inferred> infer_node(const ir::Node& node, std::span<const TensorType* const> types,
                            std::span<const Tensor* const> known, int64_t max_elements);

// Outputs of a pure node whose inputs are all known.
Result<std::vector<Tensor>> evaluate_node(const ir::Node& node, std::span<const Tensor* const> inputs,
                                          std::span<const TensorType> output_types);

// Fills value->type of every node output, symbolic where the inputs are. Shape arithmetic on known extents is followed.
Status infer_types(ir::Graph& graph);

// Largest tensor that is computed while types are inferred: shape arithmetic, not weights.
inline constexpr int64_t kShapeElements = 4096;

// The types of all values for given input types: what a session is bound to.
struct BoundTypes {
  std::unordered_map<const ir::Value*, TensorType> types;
  std::unordered_map<const ir::Value*, Tensor> known;  // constants not included
  const TensorType& type(const ir::Value* v) const { return types.at(v); }
};
// `inputs` in the order of graph.inputs(), concrete. kShapeMismatch names the input and both shapes where one does not
// fit the model's declaration or a symbol has two values.
Result<BoundTypes> bind_types(const ir::Graph& graph, std::span<const TensorType> inputs);

}  // namespace lowp
