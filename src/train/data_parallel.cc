#include "train/data_parallel.h"

#include <algorithm>
#include <unordered_map>

namespace lowp::train {
namespace {

struct Bucket {
  std::vector<size_t> gradients;
  int64_t bytes = 0;
  size_t last = 0;  // number of the node behind which all are there, counted from 1; 0: before all
};

std::vector<Bucket> buckets_of(const std::vector<ir::Node*>& nodes, const std::vector<ir::Value*>& weights,
                               const std::vector<ir::Value*>& gradients, int64_t most) {
  std::unordered_map<const ir::Node*, size_t> number;
  for (size_t i = 0; i < nodes.size(); ++i) number[nodes[i]] = i + 1;
  auto ready = [&](size_t g) { return gradients[g]->producer == nullptr ? 0 : number.at(gradients[g]->producer); };
  std::vector<size_t> order(gradients.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return ready(a) < ready(b); });
  std::vector<Bucket> buckets;
  for (size_t g : order) {
    if (buckets.empty() || buckets.back().bytes >= most) buckets.emplace_back();
    Bucket& b = buckets.back();
    b.gradients.push_back(g);
    b.bytes += ir::element_count(weights[g]->type.extents()) * int64_t{sizeof(float)};
    b.last = ready(g);
  }
  return buckets;
}

std::string wire_name(const DataParallel& options) { return options.compress == Wire::kBF16 ? "bf16" : "f32"; }

}  // namespace

std::vector<ir::Value*> average_gradients(ir::Graph& graph, const std::vector<ir::Value*>& weights,
                                          const std::vector<ir::Value*>& gradients, const DataParallel& options) {
  const std::vector<ir::Node*> nodes = graph.node_list();
  const std::string wire = wire_name(options);
  std::vector<ir::Value*> means(gradients.size());
  std::vector<std::pair<Bucket, std::vector<ir::Value*>>> started;
  for (Bucket& bucket : buckets_of(nodes, weights, gradients, options.bucket_bytes)) {
    GraphBuilder b(graph, bucket.last < nodes.size() ? nodes[bucket.last] : nullptr);
    std::vector<ir::Value*> parts;
    for (size_t g : bucket.gradients) parts.push_back(gradients[g]);
    std::vector<ir::Value*> pending = b.op_n(2, "AllReduceStart", parts, {{"ranks", options.ranks}, {"wire", wire}},
                                             kLowpDomain, "bucket" + std::to_string(started.size()));
    started.emplace_back(std::move(bucket), std::move(pending));
  }
  GraphBuilder b(graph);
  for (auto& [bucket, operands] : started) {
    for (size_t g : bucket.gradients) operands.push_back(weights[g]);
    const std::vector<ir::Value*> results = b.op_n(bucket.gradients.size(), "AllReduceWait", operands,
                                                   {{"ranks", options.ranks}}, kLowpDomain, "mean_of_ranks");
    for (size_t i = 0; i < results.size(); ++i) means[bucket.gradients[i]] = results[i];
  }
  return means;
}

SparseExchange::SparseExchange(ir::Graph& graph, ir::Value* table, const SparseGradient& own,
                               const DataParallel& options)
    : graph_(&graph), table_(table), ranks_(options.ranks), wire_(wire_name(options)) {
  started_ = GraphBuilder(graph).op_n(2, "GatherRowsStart", {own.rows, own.values, own.count, table},
                                      {{"ranks", ranks_}, {"wire", wire_}}, kLowpDomain, "rows_of_ranks");
}

SparseGradient SparseExchange::wait() {
  const std::vector<ir::Value*> mean =
      GraphBuilder(*graph_).op_n(3, "GatherRowsWait", {started_[0], started_[1], table_},
                                 {{"ranks", ranks_}, {"wire", wire_}}, kLowpDomain, "mean_of_rows");
  return {.rows = mean[0], .values = mean[1], .count = mean[2]};
}

}  // namespace lowp::train
