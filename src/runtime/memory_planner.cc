#include "runtime/memory_planner.h"

#include <algorithm>
#include <numeric>

namespace lowp::runtime {

ArenaLayout plan_memory(const std::vector<BufferRequest>& requests) {
  ArenaLayout layout;
  layout.offsets.resize(requests.size(), 0);
  std::vector<size_t> order(requests.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return requests[a].bytes > requests[b].bytes; });
  std::vector<size_t> placed;  // by offset
  for (size_t i : order) {
    const BufferRequest& r = requests[i];
    const size_t bytes = (r.bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
    size_t offset = 0;
    for (size_t p : placed) {
      const BufferRequest& q = requests[p];
      if (q.last < r.first || r.last < q.first) continue;
      if (layout.offsets[p] >= offset + bytes) break;
      offset =
          std::max(offset, layout.offsets[p] + (q.bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment);
    }
    layout.offsets[i] = offset;
    layout.bytes = std::max(layout.bytes, offset + bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), offset,
                                   [&](size_t o, size_t p) { return o < layout.offsets[p]; }),
                  i);
  }
  return layout;
}

}  // namespace lowp::runtime
