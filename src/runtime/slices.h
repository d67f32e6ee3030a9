// Which nodes of a bound graph run a few items of the batch at a time, so that what one leaves in the caches is still
// there when the next reads it. The first layers of image networks have large activations and few weights: ResNet-50's
// take 3 MB an image and layer in f32, and at batch 8 each layer would read from memory what the one before wrote
// there. So do layers over thousands of rows: NCF's write 8 MB each for 8,192 pairs; and transformers from some 32
// items on, whose slices are larger, as each reads all weights again.
#pragma once

#include <functional>
#include <optional>

#include "ir/graph.h"

namespace lowp::runtime {

// Nodes [first, last] by position, run `count` times with `items` items each; count * items is the batch.
struct Slices {
  int first = 0;
  int last = 0;
  int64_t items = 0;
  int64_t count = 0;
};

// The consecutive nodes that gain most, if any: those whose activations (read and written) outweigh the constants that
// every slice reads again and the calls of their kernels. All of them are per_item (ops/op_def.h). `type_of` gives
// concrete types; `is_known` tells constants and contents that follow from shapes.
std::optional<Slices> find_slices(const ir::Graph& graph,
                                  const std::function<const ir::TensorType*(const ir::Value*)>& type_of,
                                  const std::function<bool(const ir::Value*)>& is_known);

}  // namespace lowp::runtime
