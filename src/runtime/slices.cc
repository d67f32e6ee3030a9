#include "runtime/slices.h"

#include <algorithm>

#include "ops/op_def.h"

namespace lowp::runtime {
namespace {

// Activations of a node in one slice, where an item has less: few enough for L2 and many enough for kernels to be at
// their best.
constexpr int64_t kSliceBytes = 1 << 20;
// Less to gain than this is not worth running kernels several times.
constexpr int64_t kLeastGain = 4 << 20;

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
    if (is_known(v)) {
      if (const ir::TensorType* type = type_of(v); type != nullptr) t.constants += bytes(*type);
    } else if (!add(v)) {
      return {};
    }
  }
  for (const ir::Value* v : node.outputs) {
    if (v != nullptr && !add(v)) return {};
  }
  return t;
}

}  // namespace

std::optional<Slices> find_slices(const ir::Graph& graph,
                                  const std::function<const ir::TensorType*(const ir::Value*)>& type_of,
                                  const std::function<bool(const ir::Value*)>& is_known) {
  // The run of nodes with the largest sum of gains (Kadane's algorithm).
  Slices best, run;
  int64_t best_gain = 0, run_gain = 0, best_item = 0, run_item = 0, batch = 0, best_batch = 0;
  int position = -1;
  for (const auto& node : graph.nodes()) {
    ++position;
    const Traffic t = traffic(*node, type_of, is_known);
    const bool breaks = t.batch == 0 || (run_gain > 0 && t.batch != batch);
    if (breaks || run_gain <= 0) run_gain = 0, run_item = 0, run.first = position, batch = t.batch;
    if (t.batch == 0) continue;
    run_gain += (t.item - t.constants) * t.batch;
    run_item = std::max(run_item, t.item);
    run.last = position;
    if (run_gain > best_gain) best = run, best_gain = run_gain, best_item = run_item, best_batch = t.batch;
  }
  // What stays in the caches anyway gains nothing.
  if (best_gain < kLeastGain || best.first == best.last || best_item * best_batch <= 2 * kSliceBytes)
    return std::nullopt;
  best.items = 1;
  for (int64_t n = 1; n < best_batch; ++n) {
    if (best_batch % n == 0 && n * best_item <= kSliceBytes) best.items = n;
  }
  best.count = best_batch / best.items;
  return best;
}

}  // namespace lowp::runtime
