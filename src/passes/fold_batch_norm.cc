// BatchNormalization behind a convolution with constant weights, and multiplication by a constant for each channel, go
// into the weights and the bias. In double, rounded once. Elsewhere BatchNormalization becomes Mul and Add.
#include "ops/norm.h"
#include "ops/reference.h"
#include "ops/window.h"
#include "passes/match.h"
#include "passes/pass.h"

namespace lowp::passes {
namespace {

struct Affine {
  std::vector<double> scale;
  std::vector<double> shift;
};

// y = x * scale + shift for each channel, from a node behind the convolution.
std::optional<Affine> affine_of(const ir::Node* node, const ir::Value* x, int64_t channels) {
  const auto n = static_cast<size_t>(channels);
  Affine a{std::vector<double>(n, 1), std::vector<double>(n, 0)};
  if (is_op(node, "BatchNormalization")) {
    if (node->attrs.get<ops::BatchNormAttrs>().training_mode) return std::nullopt;
    for (size_t i = 1; i < 5; ++i) {
      if (!node->inputs[i]->is_constant() || node->inputs[i]->constant.size() != channels) return std::nullopt;
    }
    const auto scale = ops::to_doubles(node->inputs[1]->constant);
    const auto bias = ops::to_doubles(node->inputs[2]->constant);
    const auto mean = ops::to_doubles(node->inputs[3]->constant);
    const auto var = ops::to_doubles(node->inputs[4]->constant);
    const double epsilon = static_cast<double>(node->attrs.get<ops::BatchNormAttrs>().epsilon);
    for (size_t c = 0; c < n; ++c) {
      a.scale[c] = scale[c] / std::sqrt(var[c] + epsilon);
      a.shift[c] = bias[c] - mean[c] * a.scale[c];
    }
    return a;
  }
  const bool add = is_op(node, "Add");
  if (!add && !is_op(node, "Mul")) return std::nullopt;
  const int axis_from_back = x->type.rank() - 2;
  if (other(node, x)->type.rank() > x->type.rank()) return std::nullopt;  // the result has more dimensions
  auto values = channel_values(other(node, x), channels, axis_from_back, true);
  if (!values) return std::nullopt;
  for (size_t c = 0; c < n; ++c) (add ? a.shift : a.scale)[c] = static_cast<double>((*values)[c]);
  return a;
}

void fold_into_conv(ir::Graph& graph, ir::Node* conv, const Affine& a) {
  const Tensor& w = conv->inputs[1]->constant;
  Tensor scaled = w.clone();
  const int64_t per_channel = w.size() / w.extent(0);
  for (int64_t i = 0; i < w.size(); ++i)
    scaled.mutable_data<float>()[i] =
        static_cast<float>(static_cast<double>(w.data<float>()[i]) * a.scale[static_cast<size_t>(i / per_channel)]);
  Tensor bias = Tensor::zeros(DType::kF32, {w.extent(0)});
  for (int64_t c = 0; c < w.extent(0); ++c) {
    const double b = conv->input(2) == nullptr ? 0 : static_cast<double>(conv->inputs[2]->constant.data<float>()[c]);
    bias.mutable_data<float>()[c] =
        static_cast<float>(b * a.scale[static_cast<size_t>(c)] + a.shift[static_cast<size_t>(c)]);
  }
  graph.set_input(conv, 1, graph.add_constant(conv->inputs[1]->name + ":folded", std::move(scaled)));
  graph.set_input(conv, 2, graph.add_constant(conv->name + ":bias", std::move(bias)));
}

}  // namespace

Result<int> fold_batch_norm(ir::Graph& graph, const PassOptions&) {
  int changed = 0;
  // The nodes that are folded away are in no list that goes on being read.
  std::vector<ir::Node*> convolutions = graph.node_list();
  std::erase_if(convolutions, [](const ir::Node* n) { return !is_op(n, "Conv"); });
  for (ir::Node* conv : convolutions) {
    if (!conv->inputs[1]->is_constant() || conv->inputs[1]->constant.dtype() != DType::kF32) continue;
    if (conv->input(2) != nullptr && !conv->inputs[2]->is_constant()) continue;
    while (ir::Node* next = only_user(graph, conv->outputs[0])) {
      if (!conv->outputs[0]->type.has_rank()) break;
      if (is_op(next, "BatchNormalization") && next->inputs[0] != conv->outputs[0]) break;
      auto affine = affine_of(next, conv->outputs[0], conv->inputs[1]->constant.extent(0));
      if (!affine) break;
      fold_into_conv(graph, conv, *affine);
      graph.replace_uses(next->outputs[0], conv->outputs[0]);
      graph.erase(next);
      ++changed;
    }
  }
  for (ir::Node* node : graph.node_list()) {
    if (!is_op(node, "BatchNormalization") || node->inputs[0]->type.dtype != DType::kF32 ||
        !node->inputs[0]->type.has_rank())
      continue;
    if (!node->inputs[1]->is_constant()) continue;
    const int64_t channels = node->inputs[1]->constant.size();
    auto affine = affine_of(node, node->inputs[0], channels);
    if (!affine) continue;
    Extents extents(static_cast<size_t>(node->inputs[0]->type.rank()) - 1, 1);
    extents[0] = channels;
    auto constant = [&](const std::vector<double>& values) {
      Tensor t = Tensor::zeros(DType::kF32, extents);
      for (size_t i = 0; i < values.size(); ++i) t.mutable_data<float>()[i] = static_cast<float>(values[i]);
      return graph.add_constant(node->name + ":affine", std::move(t));
    };
    GraphBuilder b(graph, node);
    ir::Value* y = b.op("Mul", {node->inputs[0], constant(affine->scale)}, {}, kOnnxDomain, node->name + ":scale");
    y = b.op("Add", {y, constant(affine->shift)}, {}, kOnnxDomain, node->name);
    graph.replace_uses(node->outputs[0], y);
    ++changed;
  }
  return changed;
}

}  // namespace lowp::passes
