// What the forward pass keeps for the gradients, in fewer bits than it is computed in.
#pragma once

#include "ir/graph.h"

namespace lowp::autograd {

// Recurrences compute in f32 (lowp.LSTM, lowp.GRU), whatever the precision around them; gates, cells and outputs of all
// steps, which their gradients want, are stored in `dtype` (kBF16 or kF16; kF32: nothing changes) from the node that
// makes them to the gradient. The forward pass keeps its bits; gradients see values that were rounded once. kBF16 also
// lets products with R be of bf16 where the target multiplies it (RecurrenceAttrs::bf16_products).
void keep_recurrences_in(ir::Graph& graph, DType dtype);

}  // namespace lowp::autograd
