#include "runtime/slices.h"

#include <algorithm>

#include "ops/op_def.h"

namespace lowp::runtime {
namespace {

// Activations of a node in one slice, where an item has less: few enough for L2 and many enough for kernels to be at
// their best.
constexpr int64_t kSliceBytes = 1 << 20;
// Where weights outweigh that, as in transformers, slices may still keep activations out of memory: of so many bytes in
// L3, whose gain counts so many times less. BERT-base in INT8 at batch 64 takes 0.7 of the time on Granite Rapids.
constexpr int64_t kSliceBytesInL3 = 8 << 20;
constexpr int64_t kGainInL3 = 3;
// Less to gain than this is not worth running kernels several times.
constexpr int64_t kLeastGain = 4 << 20;
// What memory moves in the microsecond that a call of a kernel costs beside its work.
constexpr int64_t kCallBytes = 16 << 10;

// One node's bytes of an item, and of its constants.
struct Traffic {
  int64_t batch = 0;  // 0: cannot be sliced
  int64_t item = 0;
  int64_t constants = 0;
};

int64_t bytes(const ir::TensorType& type) {
  return static_cast<int64_t>(dtype_bytes(type.dtype, static_cast<size_t>(ir::element_count(type.extents()))));
}

Traffic traffic(const ir::Node& node, const std::function<const ir::TensorType*(const ir::Value*)>& type_of,
                const std::function<bool(const ir::Value*)>& is_known) {
  Traffic t;
  if (node.op->per_item == nullptr || !node.op->per_item(node)) return {};
  auto add = [&](const ir::Value* v) {
    const ir::TensorType* type = type_of(v);
    if (type == nullptr || !type->concrete()) return false;
    const Extents extents = type->extents();
    if (extents.empty() || extents[0] < 2 || (t.batch != 0 && extents[0] != t.batch)) return false;
    t.batch = extents[0];
    t.item += bytes(*type) / extents[0];
    return true;
  };
  for (const ir::Value* v : node.inputs) {
    if (v == nullptr) continue;
    if (v->is_constant()) {
      if (!node.op->reads_rows) t.constants += bytes(v->type);
    } else if (is_known(v)) {
      return {};  // per_item says nothing about these
    } else if (!add(v)) {
      return {};
    }
  }
  for (const ir::Value* v : node.outputs) {
    if (v != nullptr && !add(v)) return {};
  }
  return t;
}

// As many as fit into a slice; all slices are alike.
int64_t items_of_slice(int64_t batch, int64_t bytes_of_item, int64_t slice_bytes) {
  const int64_t most = std::max<int64_t>(slice_bytes / std::max<int64_t>(bytes_of_item, 1), 1);
  int64_t items = 1;
  for (int64_t n = 1; n <= batch / n; ++n) {
    if (batch % n != 0) continue;
    for (const int64_t divisor : {n, batch / n}) {
      if (divisor <= most) items = std::max(items, divisor);
    }
  }
  return items;
}

}  // namespace

std::optional<Slices> find_slices(const ir::Graph& graph,
                                  const std::function<const ir::TensorType*(const ir::Value*)>& type_of,
                                  const std::function<bool(const ir::Value*)>& is_known) {
  std::vector<Traffic> nodes;
  for (const auto& node : graph.nodes()) nodes.push_back(traffic(*node, type_of, is_known));
  std::optional<Slices> best;
  int64_t best_gain = kLeastGain - 1;
  for (const auto& [slice_bytes, divisor] : {std::pair{kSliceBytes, int64_t{1}}, {kSliceBytesInL3, kGainInL3}})
    for (size_t first = 0; first < nodes.size(); ++first) {
      const int64_t batch = nodes[first].batch;
      Traffic run{batch, 0, 0};
      int64_t largest = 0;  // a node's bytes of an item
      Slices slices;
      for (size_t last = first; last < nodes.size() && batch != 0 && nodes[last].batch == batch; ++last) {
        run.item += nodes[last].item;
        run.constants += nodes[last].constants;
        if (last == first || nodes[last].item > largest) {
          largest = std::max(largest, nodes[last].item);
          slices.items = items_of_slice(batch, largest, slice_bytes);
          slices.count = batch / slices.items;
        }
        // What stays in the caches anyway gains nothing.
        if (last == first || largest * batch <= 2 * slice_bytes) continue;
        const auto calls = static_cast<int64_t>(last - first + 1) * slices.count;
        const int64_t gain = (run.item * batch - run.constants * slices.count - calls * kCallBytes) / divisor;
        if (gain <= best_gain) continue;
        best_gain = gain;
        best = slices;
        best->first = static_cast<int>(first);
        best->last = static_cast<int>(last);
      }
    }
  return best;
}

}  // namespace lowp::runtime
