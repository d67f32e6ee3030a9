// Stochastic gradient descent as nodes of the graph: one run of the graph is one step.
#pragma once

#include "ops/op_def.h"
#include "runtime/session.h"

namespace lowp::train {

struct SgdOptions {
  float learning_rate = 0.1F;
  float momentum = 0.0F;
};

// Makes every state of the graph a trained parameter w: with gradient g of `loss` and velocity v (a state of its own,
// named "<w>.velocity", where momentum is not 0)
//   v = momentum * v + g,  w = w - learning_rate * v
// The learning rate is a further input, "learning_rate", a f32 scalar, so that schedules need no new graph.
Status add_sgd(ir::Graph& graph, ir::Value* loss, const SgdOptions& options);

// The trained model: the part of the graph that computes `outputs` (by name), states replaced by their content in the
// session. Inputs that no output needs are dropped.
Result<std::unique_ptr<ir::Graph>> freeze(const ir::Graph& graph, runtime::Session& session,
                                          const std::vector<std::string>& outputs);

}  // namespace lowp::train
