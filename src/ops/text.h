// A graph as text that people read and tests compare, one node a line:
//
//   graph "net"
//   input %x : f32[N,3]
//   state %w : f32[3,4]
//   const %b : f32[4] = [0, 0.5, 1, -2]
//   %y : f32[N,4] = MatMul(%x, %w)                "layer1" i8 <- f32 : reason
//   %z : f32[N,4] channels-last = lowp.Conv(%y, _) {group=2, pads=[0,0,1,1]}
//   update %w = %w.step
//   output "logits" = %z
//
// Constants of more than 16 elements show their checksum instead of their content. Attributes that have their default
// value are left out.
#pragma once

#include "ir/graph.h"

namespace lowp {

std::string to_text(const ir::Graph& graph);

}  // namespace lowp
