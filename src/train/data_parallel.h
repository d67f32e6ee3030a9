// Data parallel training: every rank computes gradients of its own batch, and all take the same step with their mean.
#pragma once

#include "base/communicator.h"
#include "ops/op_def.h"

namespace lowp::train {

struct DataParallel {
  int64_t ranks = 1;  // of the process's communicator (base/exchange_queue.h)
  // Gradients are exchanged together until they have so many bytes: fewer cost more of the rate (base/communicator.cc
  // has the figures), more begin later and leave less computing to hide behind.
  int64_t bucket_bytes = int64_t{4} << 20;
  Wire compress = Wire::kF32;
};

// Values for the means over all ranks of `gradients`, which have the types of `weights`. A bucket holds neighbours in
// the order in which the graph computes them, and its exchange starts behind the node of the last one.
std::vector<ir::Value*> average_gradients(ir::Graph& graph, const std::vector<ir::Value*>& weights,
                                          const std::vector<ir::Value*>& gradients, const DataParallel& options);

// The gradient of a table of which a batch reads some rows: what lowp.SparseRows gives.
struct SparseGradient {
  ir::Value* rows = nullptr;    // i64 [N], ascending, -1 behind the first `count`
  ir::Value* values = nullptr;  // f32 [N, row]
  ir::Value* count = nullptr;   // i64
};

// The mean of all ranks' sparse gradients, which have rows of any of them: the exchange starts where it is made, at the
// end of the graph as it is then.
class SparseExchange {
 public:
  SparseExchange(ir::Graph& graph, ir::Value* table, const SparseGradient& own, const DataParallel& options);
  // Appends the end of the exchange.
  SparseGradient wait();

 private:
  ir::Graph* graph_;
  ir::Value* table_;
  int64_t ranks_;
  std::string wire_;
  std::vector<ir::Value*> started_;  // slots and ticket
};

}  // namespace lowp::train
