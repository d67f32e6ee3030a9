// Offsets in one arena for buffers whose lifetimes are known.
#pragma once

#include <cstddef>
#include <vector>

namespace lowp::runtime {

// A buffer that must hold its content from step `first` to step `last`, both included.
struct BufferRequest {
  size_t bytes = 0;
  int first = 0;
  int last = 0;
};

struct ArenaLayout {
  std::vector<size_t> offsets;  // in the order of the requests, each a multiple of kArenaAlignment
  size_t bytes = 0;
};

inline constexpr size_t kArenaAlignment = 64;

// Greedy by size: the largest buffer first, each at the lowest offset where it overlaps no placed buffer that lives at
// the same time (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020).
ArenaLayout plan_memory(const std::vector<BufferRequest>& requests);

}  // namespace lowp::runtime
