// Data parallel training: every rank computes gradients of its own batch, and all take the same step with their mean.
#pragma once

#include "base/communicator.h"
#include "ops/op_def.h"

namespace lowp::train {

struct DataParallel {
  int64_t ranks = 1;  // of the process's communicator (base/exchange_queue.h)
  // Gradients are exchanged together until they have so many bytes: fewer would be mostly latency, more would begin
  // late and leave less computing to hide behind.
  int64_t bucket_bytes = int64_t{4} << 20;
  Wire compress = Wire::kF32;
};

// Values for the means over all ranks of `gradients`, which have the types of `weights`. A bucket holds neighbours in
// the order in which the graph computes them, and its exchange starts behind the node of the last one.
std::vector<ir::Value*> average_gradients(ir::Graph& graph, const std::vector<ir::Value*>& weights,
                                          const std::vector<ir::Value*>& gradients, const DataParallel& options);

}  // namespace lowp::train
