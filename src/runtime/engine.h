// A compiled model: an immutable graph with its weights. Shared by any number of sessions in any number of threads.
#pragma once

#include <memory>

#include "ops/op_def.h"

namespace lowp::runtime {

class Engine {
 public:
  // Constants that point into a mapped file keep it alive themselves.
  explicit Engine(std::unique_ptr<ir::Graph> graph) : graph_(std::move(graph)) {}
  const ir::Graph& graph() const { return *graph_; }

 private:
  std::unique_ptr<ir::Graph> graph_;
};

}  // namespace lowp::runtime
