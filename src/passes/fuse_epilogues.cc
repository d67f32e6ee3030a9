// What follows a packed op goes into its epilogue: bias, residual, activation, requantization, as long as the result
// between is read by nobody else.
#include "ops/packed.h"
#include "passes/match.h"
#include "passes/pass.h"

namespace lowp::passes {
namespace {

// Activations of one operand, by ONNX's names.
constexpr std::pair<std::string_view, std::string_view> kActivations[] = {
    {"Relu", "relu"},
    {"Sigmoid", "sigmoid"},
    {"Tanh", "tanh"},
    {"HardSwish", "hard_swish"},
};

template <typename A>
class Fuser {
 public:
  Fuser(ir::Graph& graph, ir::Node* node, int64_t channels, int channel_axis_from_back)
      : graph_(graph), node_(node), attrs_(node->attrs.get<A>()), channels_(channels), axis_(channel_axis_from_back) {}

  int run() {
    int changed = 0;
    while (ir::Node* next = only_user(graph_, node_->outputs[0])) {
      if (attrs_.out_dtype != DType::kF32 ||
          !(bias(next) || residual(next) || activation(next) || scale_channels(next) || requantize(next)))
        break;
      ir::Value* old = next->outputs[0];
      node_->outputs[0]->type = old->type;
      ir::Graph::take_name(node_->outputs[0], old);
      graph_.replace_uses(old, node_->outputs[0]);
      graph_.erase(next);
      node_->attrs = Attrs::make(A(attrs_));
      ++changed;
    }
    return changed;
  }

 private:
  bool int8() const { return node_->inputs[ops::kPackedWeights]->type.dtype == DType::kI8; }

  bool bias(const ir::Node* next) {
    if (!is_op(next, "Add") || node_->input(ops::kPackedResidual) != nullptr || !attrs_.activation.empty())
      return false;
    const ir::Value* operand = other(next, node_->outputs[0]);
    if (next->outputs[0]->type.rank() != node_->outputs[0]->type.rank()) return false;
    auto values = channel_values(operand, channels_, axis_, true);
    if (!values) return false;
    const ir::Value* old = node_->input(ops::kPackedBias);
    const std::string name = node_->name + ":bias";
    if (!int8()) {
      Tensor sum = Tensor::from<float>({channels_}, std::span<const float>(*values));
      if (old != nullptr) {
        for (int64_t i = 0; i < channels_; ++i) sum.mutable_data<float>()[i] += old->constant.data<float>()[i];
      }
      graph_.set_input(node_, ops::kPackedBias, graph_.add_constant(name, std::move(sum)));
      return true;
    }
    Tensor sum = old != nullptr ? old->constant.clone() : Tensor::zeros(DType::kI32, {channels_});
    const float* scale = node_->inputs[ops::kPackedScale]->constant.data<float>();
    for (int64_t i = 0; i < channels_; ++i) {
      const double b =
          std::nearbyint(static_cast<double>((*values)[static_cast<size_t>(i)]) / static_cast<double>(scale[i])) +
          sum.data<int32_t>()[i];
      if (!(std::abs(b) < static_cast<double>(1 << 30))) return false;  // would not fit beside the largest sum
      sum.mutable_data<int32_t>()[i] = static_cast<int32_t>(b);
    }
    graph_.set_input(node_, ops::kPackedBias, graph_.add_constant(name, std::move(sum)));
    return true;
  }

  bool residual(const ir::Node* next) {
    if (!is_op(next, "Add") || node_->input(ops::kPackedResidual) != nullptr || !attrs_.activation.empty())
      return false;
    if (next->inputs[0] == next->inputs[1]) return false;
    ir::Value* operand = other(next, node_->outputs[0]);
    const TensorType& own = node_->outputs[0]->type;
    if (operand->is_constant() || operand->type.dtype != DType::kF32 || !same_shape(operand->type, own) ||
        !same_shape(next->outputs[0]->type, own))
      return false;
    const ir::Node* dq = producer(operand, "DequantizeLinear");
    auto q = dq == nullptr ? std::nullopt : tensor_quantization(dq);
    if (q && int8()) {
      attrs_.residual_scale = q->scale;
      attrs_.residual_zero = q->zero;
      operand = dq->inputs[0];
    }
    graph_.set_input(node_, ops::kPackedResidual, operand);
    return true;
  }

  // Extents that are not known count as equal where both are unknown: Add of projections of one sequence. Binding
  // checks.
  static bool same_shape(const TensorType& a, const TensorType& b) {
    if (a.rank() < 0 || a.rank() != b.rank()) return false;
    for (size_t i = 0; i < a.dims->size(); ++i) {
      const ir::Dim& x = (*a.dims)[i];
      const ir::Dim& y = (*b.dims)[i];
      if (x.known() != y.known() || (x.known() && x.value() != y.value())) return false;
    }
    return true;
  }

  bool activation(const ir::Node* next) {
    if (is_op(next, "Clip")) return clip(next);
    if (!attrs_.activation.empty() || next->inputs.size() != 1) return false;
    for (const auto& [onnx_name, name] : kActivations) {
      if (is_op(next, onnx_name)) {
        attrs_.activation = name;
        return true;
      }
    }
    const AttrMap a = next->op->attrs.write(next->attrs);
    if (is_op(next, "LeakyRelu")) {
      attrs_.activation = "leaky_relu";
      attrs_.alpha = std::get<float>(a.at("alpha"));
      return true;
    }
    if (is_op(next, "Gelu")) {
      attrs_.activation = std::get<std::string>(a.at("approximate")) == "tanh" ? "gelu_tanh" : "gelu";
      return true;
    }
    if (is_op(next, "Swish") && std::get<float>(a.at("alpha")) == 1.0F) {
      attrs_.activation = "silu";
      return true;
    }
    return false;
  }

  // Clip alone, or on top of Relu or Clip: the ranges intersect.
  bool clip(const ir::Node* next) {
    if (next->inputs[0] != node_->outputs[0]) return false;
    constexpr double kInf = std::numeric_limits<double>::infinity();
    double lo = -kInf;
    double hi = kInf;
    for (size_t i = 1; i < 3; ++i) {
      if (next->input(i) == nullptr) continue;
      auto s = scalar(next->inputs[i]);
      if (!s) return false;
      (i == 1 ? lo : hi) = *s;
    }
    if (attrs_.activation == "relu") {
      lo = std::max(lo, 0.0);
    } else if (attrs_.activation == "clip") {
      lo = std::max(lo, static_cast<double>(attrs_.lo));
      hi = std::min(hi, static_cast<double>(attrs_.hi));
    } else if (!attrs_.activation.empty()) {
      return false;
    }
    if (!(lo <= hi)) return false;
    attrs_.activation = "clip";
    attrs_.lo = static_cast<float>(lo);
    attrs_.hi = static_cast<float>(hi);
    return true;
  }

  bool requantize(const ir::Node* next) {
    const auto q = output_quantization(next);
    if (q) static_cast<ops::OutputQuantization&>(attrs_) = *q;
    return q.has_value();
  }

  // A factor for each channel before the result is quantized (quant/equalize.h): channels with steps of their own.
  bool scale_channels(const ir::Node* next) {
    if constexpr (!std::is_same_v<A, ops::LinearAttrs>) return false;
    if (!is_op(next, "Mul") || next->outputs[0]->type.rank() != node_->outputs[0]->type.rank()) return false;
    const auto q = output_quantization(only_user(graph_, next->outputs[0]));
    auto factors = channel_values(other(next, node_->outputs[0]), channels_, axis_, false);
    if (!q || !factors) return false;
    A after = attrs_;
    static_cast<ops::OutputQuantization&>(after) = *q;
    if (!after.allows_channel_steps()) return false;
    for (float& f : *factors) f /= q->out_scale;
    graph_.set_input(node_, ops::kPackedSteps,
                     graph_.add_constant(graph_.unique_value_name(node_->name + ":steps"),
                                         Tensor::from<float>({channels_}, std::span<const float>(*factors))));
    return true;
  }

  ir::Graph& graph_;
  ir::Node* node_;
  A attrs_;
  int64_t channels_;
  int axis_;
};

}  // namespace

Result<int> fuse_epilogues(ir::Graph& graph, const PassOptions&) {
  int changed = 0;
  // Consumers first erase producers' followers only, never a packed op, so the list stays valid for packed ops.
  std::vector<ir::Node*> packed;
  for (ir::Node* node : graph.node_list()) {
    if (node->op->domain == kLowpDomain && (node->op->name == "Linear" || node->op->name == "Conv"))
      packed.push_back(node);
  }
  // From the back: of two branches that meet in an Add, the longer one, whose last layer comes later, takes the
  // residual.
  for (auto it = packed.rbegin(); it != packed.rend(); ++it) {
    ir::Node* node = *it;
    if (node->op->name == "Linear") {
      changed += Fuser<ops::LinearAttrs>(graph, node, node->attrs.get<ops::LinearAttrs>().n, 0).run();
    } else if (node->outputs[0]->type.has_rank()) {
      changed += Fuser<ops::PackedConvAttrs>(graph, node, node->attrs.get<ops::PackedConvAttrs>().out_channels,
                                             node->outputs[0]->type.rank() - 2)
                     .run();
    }
  }
  return changed;
}

}  // namespace lowp::passes
