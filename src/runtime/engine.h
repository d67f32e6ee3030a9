// A compiled model: an immutable graph with its weights. Shared by any number of sessions in any number of threads.
#pragma once

#include <memory>

#include "ops/op_def.h"

namespace lowp::runtime {

class Engine {
 public:
  // The graph may point into a mapped file; `owner` keeps that alive.
  explicit Engine(std::unique_ptr<ir::Graph> graph, std::shared_ptr<void> owner = nullptr)
      : owner_(std::move(owner)), graph_(std::move(graph)) {}
  const ir::Graph& graph() const { return *graph_; }

 private:
  std::shared_ptr<void> owner_;
  std::unique_ptr<ir::Graph> graph_;
};

}  // namespace lowp::runtime
