// The order in which a graph's nodes can be built.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "onnx/functions.h"

namespace lowp::onnx {

// Names that a graph or its subgraphs read but do not define, each once, in the order of their first use.
std::vector<std::string> free_names(const ::onnx::GraphProto& graph);

// The node's name, or one made from its op and position where it has none.
std::string display_name(const ::onnx::NodeProto& node, size_t index);

// Indices of `nodes` with producers before consumers; a file's order is kept where it is right already. kInvalidModel
// for a cycle, a value with two producers, or one that nothing produces; `is_given` tells the names that need no
// producer.
Result<std::vector<size_t>> node_order(const std::vector<FlatNode>& nodes,
                                       const std::function<bool(const std::string&)>& is_given);

}  // namespace lowp::onnx
