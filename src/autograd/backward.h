// Reverse-mode differentiation as a change of the graph: gradients are nodes like any other, built by each op's
// gradient.
#pragma once

#include <map>

#include "ops/op_def.h"

namespace lowp::autograd {

// Extends the graph by the gradients of `loss` (a float scalar) with respect to the values `wanted`, and gives them by
// value; a value that the loss does not depend on is absent. kUnsupported names the node whose op has no gradient.
Result<std::map<ir::Value*, ir::Value*>> build_gradients(ir::Graph& graph, ir::Value* loss,
                                                         const std::vector<ir::Value*>& wanted);

}  // namespace lowp::autograd
