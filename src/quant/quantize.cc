#include "quant/quantize.h"

#include <algorithm>
#include <cmath>

#include "ops/fake_quantize.h"
#include "ops/matmul.h"
#include "ops/recurrent.h"
#include "ops/window.h"
#include "quant/weights.h"

namespace lowp::quant {
namespace {

bool is_float_constant(const ir::Value* v) {
  return v != nullptr && v->is_constant() && v->constant.dtype() == DType::kF32;
}

// A table smaller than this is not worth an op of its own.
constexpr int64_t kMinTableElements = 1 << 14;

// Adds that meet convolutions: their float operand is the accumulator of one convolution, the other is read as INT8.
bool is_residual_add(const ir::Node* node) {
  return node->op->name == "Add" && node->op->domain.empty() && node->outputs[0]->type.rank() == 4 &&
         node->outputs[0]->type.dtype == DType::kF32;
}

class Quantizer {
 public:
  Quantizer(ir::Graph& graph, const Scheme& scheme) : graph_(graph), scheme_(scheme) {
    for (const Layer& l : find_layers(graph)) {
      if (scheme.keep_float.contains(l.node->name)) continue;
      layers_.push_back(l);
      nodes_.insert(l.node);
    }
    int position = 0;
    for (const auto& n : graph.nodes()) position_[n.get()] = position++;
    for (const Layer& l : layers_) {
      if (l.activation != nullptr) add_site(l.activation);
      if (l.state != nullptr) states_.push_back(l.state);
    }
    for (const auto& n : graph.nodes()) {
      if (is_residual_add(n.get())) add_residual(n.get());
    }
  }

  // What is to be observed: activations, and initial states of recurrences.
  std::vector<ir::Value*> observed() const {
    std::vector<ir::Value*> all = sites_;
    for (ir::Value* v : states_) {
      if (std::find(all.begin(), all.end(), v) == all.end()) all.push_back(v);
    }
    return all;
  }

  Status insert(const std::map<std::string, HistogramObserver>& observers) {
    for (const ir::Value* v : sites_) {
      auto it = observers.find(v->name);
      LOWP_CHECK(it != observers.end());
      steps_[v] = steps_of(it->second);
    }
    for (const Layer& l : layers_) {
      quantize_layer_weights(l);
      if (l.recurrent()) set_state_steps(l, observers);
    }
    for (ir::Value* v : sites_) insert_site(v, steps_.at(v));
    return {};
  }

 private:
  void add_site(ir::Value* v) {
    if (std::find(sites_.begin(), sites_.end(), v) == sites_.end()) sites_.push_back(v);
  }

  // The convolution, if any, whose result this is before activations; it can take the residual into its epilogue.
  bool is_accumulator(const ir::Value* v) const {
    return v->producer != nullptr && nodes_.contains(v->producer) && v->uses.size() == 1;
  }

  void add_residual(const ir::Node* add) {
    ir::Value* a = add->inputs[0];
    ir::Value* b = add->inputs[1];
    const bool acc_a = is_accumulator(a);
    const bool acc_b = is_accumulator(b);
    if (a->is_constant() || b->is_constant() || (!acc_a && !acc_b) || !(a->type == b->type)) return;
    // The later convolution adds; what the earlier one or another branch gave is read as INT8.
    ir::Value* other =
        acc_a && acc_b ? (position_.at(a->producer) > position_.at(b->producer) ? b : a) : (acc_a ? b : a);
    add_site(other);
    residual_readers_.insert({other, add});
  }

  // Whether this reader of a quantized value reads the INT8 form.
  bool reads_quantized(const ir::Value* v, const ir::Node* reader) const {
    if (nodes_.contains(reader)) return reader->input(0) == v;
    return residual_readers_.contains({v, reader});
  }

  // Outputs of LSTM and GRU lie in [-1, 1]; an initial state may not.
  void set_state_steps(const Layer& layer, const std::map<std::string, HistogramObserver>& observers) const {
    float limit = 1;
    if (layer.state != nullptr) {
      const Range range = observers.at(layer.state->name).range(RangeMethod::kMinMax, scheme_.levels);
      limit = std::max({limit, -range.lo, range.hi});
    }
    auto attrs = layer.node->attrs.get<ops::RecurrenceAttrs>();
    attrs.h_max = scheme_.levels;
    attrs.h_zero = (scheme_.levels + 1) / 2;
    attrs.h_scale = limit / static_cast<float>(attrs.h_max - attrs.h_zero);
    layer.node->attrs = Attrs::make(ops::RecurrenceAttrs(attrs));
  }

  void quantize_layer_weights(const Layer& layer) {
    ir::Node* node = layer.node;
    const bool gather = node->op->name == "Gather";
    const size_t operand = gather ? 0 : 1;
    ir::Value* w = node->inputs[operand];
    if (!is_float_constant(w)) return;  // shared weights that another layer quantized
    int axis = 0;
    if (node->op->name == "MatMul") axis = 1;
    if (node->op->name == "Gemm") axis = node->attrs.get<ops::GemmAttrs>().trans_b ? 0 : 1;
    std::vector<float> least = least_scales(layer);
    if (static_cast<int64_t>(least.size()) != w->constant.extent(axis)) least.clear();
    const bool filters = node->op->name == "Conv";
    const ChannelOrder order =
        filters ? ChannelOrder::of_filters(w->constant) : ChannelOrder::along_axis(w->constant, axis);
    const bool depthwise = filters && w->constant.extent(1) == 1;  // those kernels take any weights
    QuantizedWeights q = scheme_.levels == 127 && !gather && !depthwise
                             ? quantize_weights_a7(w->constant, order, least)
                             : quantize_weights(w->constant, order, kernels::Int8Class::kExact8, least);
    GraphBuilder b(graph_, first_reader(w));
    ir::Value* dq =
        b.op("DequantizeLinear",
             {b.constant(std::move(q.values), w->name + ":int8"), b.constant(std::move(q.scales), w->name + ":scale")},
             {{"axis", int64_t{axis}}}, kOnnxDomain, w->name + ":dequantize");
    // Other quantized readers of the same weights along the same axis share them.
    for (ir::Node* user : std::vector<ir::Node*>(w->uses)) {
      if (user == node ||
          (nodes_.contains(user) && user->op == node->op && user->attrs == node->attrs && user->input(operand) == w))
        graph_.set_input(user, operand, dq);
    }
  }

  ir::Node* first_reader(const ir::Value* v) const {
    return *std::min_element(v->uses.begin(), v->uses.end(),
                             [&](const ir::Node* a, const ir::Node* b) { return position_.at(a) < position_.at(b); });
  }

  // Steps of an activation.
  struct Steps {
    float scale = 1;
    uint8_t zero = 0;
  };
  Steps steps_of(const HistogramObserver& observer) const {
    const Range range = observer.range(scheme_.method, scheme_.levels);
    const ops::QuantizationSteps steps = ops::activation_steps(range.lo, range.hi, scheme_.levels);
    return {steps.scale, static_cast<uint8_t>(steps.zero)};
  }

  // Weight scales with which the layer's bias, in steps of activation times weight, stays below 2^29, so that sums fit
  // beside it. Empty where there is no bias.
  std::vector<float> least_scales(const Layer& layer) const {
    const ir::Value* bias = layer.activation == nullptr ? nullptr : layer.node->input(2);
    if (bias == nullptr || !is_float_constant(bias) || bias->constant.rank() != 1) return {};
    std::vector<float> least;
    for (float b : bias->constant.values<float>())
      least.push_back(std::abs(b) / steps_.at(layer.activation).scale * 0x1p-29F);
    return least;
  }

  void insert_site(ir::Value* v, const Steps& steps) {
    const auto [scale, zero] = steps;
    std::vector<ir::Node*> readers;
    for (ir::Node* user : v->uses) {
      if (reads_quantized(v, user)) readers.push_back(user);
    }
    if (readers.empty()) return;
    ir::Node* before = *std::min_element(readers.begin(), readers.end(), [&](const ir::Node* a, const ir::Node* b) {
      return position_.at(a) < position_.at(b);
    });
    GraphBuilder b(graph_, before);
    ir::Value* x = v;
    if (scheme_.levels == 127) {
      const float lo = (0.0F - static_cast<float>(zero)) * scale;
      const float hi = (127.0F - static_cast<float>(zero)) * scale;
      x = b.op("Clip",
               {x, b.constant(Tensor::scalar(lo), v->name + ":lo"), b.constant(Tensor::scalar(hi), v->name + ":hi")},
               {}, kOnnxDomain, v->name + ":clip");
    }
    ir::Value* s = b.constant(Tensor::scalar(scale), v->name + ":scale");
    ir::Value* z = b.constant(Tensor::scalar(zero), v->name + ":zero_point");
    ir::Value* q = b.op("QuantizeLinear", {x, s, z}, {}, kOnnxDomain, v->name + ":quantize");
    ir::Value* dq = b.op("DequantizeLinear", {q, s, z}, {}, kOnnxDomain, v->name + ":dequantize");
    for (ir::Node* reader : readers) {
      for (size_t i = 0; i < reader->inputs.size(); ++i) {
        if (reader->inputs[i] == v) graph_.set_input(reader, i, dq);
      }
    }
  }

  ir::Graph& graph_;
  const Scheme& scheme_;
  std::vector<Layer> layers_;
  std::set<const ir::Node*> nodes_;
  std::map<const ir::Node*, int> position_;
  std::vector<ir::Value*> sites_;
  std::vector<ir::Value*> states_;
  std::map<const ir::Value*, Steps> steps_;
  std::set<std::pair<const ir::Value*, const ir::Node*>> residual_readers_;
};

}  // namespace

std::vector<Layer> find_layers(ir::Graph& graph) {
  std::vector<Layer> layers;
  for (ir::Node* node : graph.node_list()) {
    if (node->op->quantize == QuantRule::kRecurrent && is_float_constant(node->inputs[ops::kRecurrenceR]))
      layers.push_back({node, nullptr, node->input(ops::kRecurrenceH)});
    if (!node->op->domain.empty()) continue;
    const std::string& name = node->op->name;
    if (node->op->quantize == QuantRule::kCompute) {
      if (!is_float_constant(node->inputs[1]) || node->inputs[0]->is_constant() ||
          node->inputs[0]->type.dtype != DType::kF32)
        continue;
      if (name != "Conv" && node->inputs[1]->constant.rank() != 2) continue;
      if (name == "Conv" && node->inputs[1]->constant.rank() > 4) continue;
      if (name == "Gemm") {
        const auto& a = node->attrs.get<ops::GemmAttrs>();
        if (a.trans_a || a.alpha != 1.0F) continue;
      }
      layers.push_back({node, node->inputs[0], nullptr});
    } else if (node->op->quantize == QuantRule::kEmbedding && is_float_constant(node->inputs[0]) &&
               node->inputs[0]->constant.rank() == 2 && node->inputs[0]->constant.size() >= kMinTableElements &&
               std::get<int64_t>(node->op->attrs.write(node->attrs).at("axis")) == 0) {
      layers.push_back({node, nullptr, nullptr});
    }
  }
  return layers;
}

std::vector<std::string> observed_values(ir::Graph& graph, const Scheme& scheme) {
  std::vector<std::string> names;
  const Quantizer quantizer(graph, scheme);
  for (const ir::Value* v : quantizer.observed()) names.push_back(v->name);
  return names;
}

Status quantize(ir::Graph& graph, const Scheme& scheme, const std::map<std::string, HistogramObserver>& observers) {
  LOWP_TRY(Quantizer(graph, scheme).insert(observers));
  LOWP_TRY(graph.sort());
  return ir::verify(graph);
}

}  // namespace lowp::quant
