#include "quant/fake_quantization.h"

#include <algorithm>
#include <cmath>

#include "ops/fake_quantize.h"
#include "ops/infer.h"
#include "ops/matmul.h"
#include "ops/movement.h"
#include "ops/norm.h"
#include "ops/quantize_linear.h"

namespace lowp::quant {
namespace {

bool is_op(const ir::Node* node, std::string_view name, std::string_view domain = kOnnxDomain) {
  return node != nullptr && node->op->name == name && node->op->domain == domain;
}

// ---- insertion

struct Layer {
  ir::Node* node;
  ir::Value* weights;  // a state
  std::string name;    // of the state
  int64_t axis;        // of the state, along which output channels lie
};

class Inserter {
 public:
  Inserter(ir::Graph& graph, const FakeQuantization& options) : graph_(graph), options_(options) {}

  Result<std::vector<std::string>> run() {
    for (const ir::State& s : graph_.states()) {
      if (s.value->type.dtype == DType::kF32) states_[s.value] = s.name;
    }
    LOWP_TRY(find_layers());
    for (const Layer& l : layers_) nodes_.insert(l.node);
    // Before convolutions take their batch norm in: where that stands says what is added to a convolution's result.
    for (const Layer& l : layers_) add_site(l.node->inputs[0], l.node, l.name + ":input");
    for (ir::Node* n : graph_.node_list()) add_residual(n);
    for (const Layer& l : layers_) {
      if (!fold_batch_norm(l)) quantize_weights(l);
    }
    for (const Site& s : sites_) quantize_activation(s);
    LOWP_TRY(graph_.sort());
    LOWP_TRY(ir::verify(graph_));
    return names_;
  }

 private:
  // ---- what there is

  bool is_excluded(const std::string& name, std::set<std::string, std::less<>>& used) const {
    bool found = false;
    for (const std::string& e : options_.exclude) {
      if (name != e && !name.starts_with(e + ".")) continue;
      used.insert(e);
      found = true;
    }
    return found;
  }

  Status find_layers() {
    std::set<std::string, std::less<>> used;
    for (ir::Node* node : graph_.node_list()) {
      std::optional<Layer> layer = layer_of(node);
      if (layer && !is_excluded(node->name, used)) layers_.push_back(*layer);
    }
    for (const std::string& e : options_.exclude) {
      if (!used.contains(e))
        return error(Code::kInvalidArgument, "there is no layer '{}' to exclude from quantization", e);
    }
    if (layers_.empty())
      return error(Code::kInvalidArgument, "the graph has no convolution and no product with trained weights");
    return {};
  }

  std::optional<Layer> layer_of(ir::Node* node) const {
    const std::string& name = node->op->name;
    if (!node->op->domain.empty() || (name != "Conv" && name != "Gemm" && name != "MatMul")) return std::nullopt;
    if (node->inputs[0]->is_constant() || node->inputs[0]->type.dtype != DType::kF32) return std::nullopt;
    int64_t axis = 0;
    if (name == "Gemm") {
      const auto& a = node->attrs.get<ops::GemmAttrs>();
      if (a.trans_a || a.alpha != 1.0F) return std::nullopt;
      axis = a.trans_b ? 0 : 1;
    }
    if (name == "MatMul") axis = 1;
    ir::Value* w = node->inputs[1];
    if (!w->type.has_rank() || (name != "Conv" && w->type.rank() != 2)) return std::nullopt;
    // Back to the state; only what keeps a whole axis for the channels may lie between.
    while (w->producer != nullptr) {
      const ir::Node* p = w->producer;
      if (is_op(p, "Transpose")) {
        const auto& perm = p->attrs.get<ops::TransposeAttrs>().perm;
        axis = perm ? (*perm)[static_cast<size_t>(axis)] : w->type.rank() - 1 - axis;
      } else if (is_op(p, "Reshape")) {
        const TensorType& from = p->inputs[0]->type;
        if (axis != 0 || !from.concrete() || !w->type.concrete() || from.rank() == 0 ||
            from.extents()[0] != w->type.extents()[0])
          return std::nullopt;
      } else if (!is_op(p, "Identity")) {
        return std::nullopt;
      }
      w = p->inputs[0];
    }
    const auto state = states_.find(w);
    if (state == states_.end()) return std::nullopt;
    return Layer{node, w, state->second, axis};
  }

  // Whose result this is, past the batch norm behind it.
  bool is_of_convolution(const ir::Value* v) const {
    const ir::Node* p = v->producer;
    if (p != nullptr && (is_op(p, "BatchNormalization") || is_op(p, "BatchNormTraining", kLowpDomain)) &&
        v->uses.size() == 1)
      p = p->inputs[0]->producer;
    return p != nullptr && p->op->name == "Conv" && nodes_.contains(p);
  }

  struct Site {
    ir::Value* value;
    std::vector<ir::Node*> readers;
    std::string name;
  };
  void add_site(ir::Value* v, ir::Node* reader, const std::string& name) {
    auto it = std::find_if(sites_.begin(), sites_.end(), [&](const Site& s) { return s.value == v; });
    if (it != sites_.end()) {
      it->readers.push_back(reader);
      return;
    }
    std::string unique = name;  // weights that several layers share
    for (int i = 1; std::any_of(sites_.begin(), sites_.end(), [&](const Site& s) { return s.name == unique; }); ++i)
      unique = name + std::to_string(i);
    sites_.push_back({v, {reader}, unique});
  }

  // The later convolution adds in its epilogue; the other operand is read as INT8 (quant/quantize.cc does the same).
  void add_residual(ir::Node* node) {
    if (!is_op(node, "Add") || node->outputs[0]->type.rank() != 4) return;
    ir::Value *a = node->inputs[0], *b = node->inputs[1];
    if (a == b || !(a->type == b->type)) return;
    const bool of_a = is_of_convolution(a) && a->uses.size() == 1, of_b = is_of_convolution(b) && b->uses.size() == 1;
    if (!of_a && !of_b) return;
    ir::Value* other = of_a && of_b ? (position(a->producer) > position(b->producer) ? b : a) : (of_a ? b : a);
    const ir::Node* conv = (other == a ? b : a)->producer;
    if (conv->op->name != "Conv") conv = conv->inputs[0]->producer;
    for (const Layer& l : layers_) {
      if (l.node == conv) add_site(other, node, l.name + ":residual");
    }
  }
  int position(const ir::Node* node) const {
    int i = 0;
    for (const auto& n : graph_.nodes()) {
      if (n.get() == node) return i;
      ++i;
    }
    return i;
  }

  // ---- what becomes of it

  // Extremes of each channel are its range.
  ir::Value* quantized(GraphBuilder& b, ir::Value* w, int64_t axis, const std::string& name) {
    std::vector<int64_t> others;
    for (int64_t i = 0; i < w->type.rank(); ++i) {
      if (i != axis) others.push_back(i);
    }
    ir::Value* axes = b.ints(others);
    const AttrMap drop = {{"keepdims", int64_t{0}}};
    ir::Value* low = b.op("ReduceMin", {w, axes}, drop, kOnnxDomain, name + ":low");
    ir::Value* high = b.op("ReduceMax", {w, axes}, drop, kOnnxDomain, name + ":high");
    return b.op("FakeQuantize", {w, low, high}, {{"symmetric", int64_t{1}}, {"axis", axis}}, kLowpDomain,
                name + ":fake_quantize");
  }

  void quantize_weights(const Layer& layer) {
    ir::Value*& y = quantized_[layer.weights];
    if (y != nullptr) return;  // shared; all its readers have been changed
    const std::vector<ir::Node*> readers = layer.weights->uses;
    const ir::Node* first =
        *std::min_element(readers.begin(), readers.end(),
                          [&](const ir::Node* a, const ir::Node* b) { return position(a) < position(b); });
    GraphBuilder b(graph_, const_cast<ir::Node*>(first));
    y = quantized(b, layer.weights, layer.axis, layer.name);
    for (ir::Node* reader : readers) {
      // A table that is looked up too stays float.
      if (reader->op->name == "Gather") continue;
      for (size_t i = 0; i < reader->inputs.size(); ++i) {
        if (reader->inputs[i] == layer.weights) graph_.set_input(reader, i, y);
      }
    }
  }

  bool fold_batch_norm(const Layer& layer) {
    ir::Node* conv = layer.node;
    ir::Value* y = conv->outputs[0];
    if (!is_op(conv, "Conv") || y->uses.size() != 1 || graph_.is_graph_output(y)) return false;
    ir::Node* norm = y->uses[0];
    if (!is_op(norm, "BatchNormalization") || norm->inputs[0] != y) return false;
    const auto& a = norm->attrs.get<ops::BatchNormAttrs>();
    if (a.training_mode) return false;
    GraphBuilder b(graph_, conv);
    b.set_prefix(norm->name + ":");
    ir::Value *gamma = norm->inputs[1], *beta = norm->inputs[2], *mean = norm->inputs[3], *var = norm->inputs[4];
    ir::Value* deviation = b.op("Sqrt", {b.op("Add", {var, b.scalar_like(var, static_cast<double>(a.epsilon))})});
    ir::Value* factor = b.op("Div", {gamma, deviation});
    ir::Value* w = conv->inputs[1];
    std::vector<int64_t> axes;
    for (int64_t i = 1; i < w->type.rank(); ++i) axes.push_back(i);
    w = b.op("Mul", {w, b.op("Unsqueeze", {factor, b.ints(axes)})});
    ir::Value* centre = conv->input(2) == nullptr ? mean : b.op("Sub", {mean, conv->inputs[2]});
    ir::Value* bias = b.op("Sub", {beta, b.op("Mul", {centre, factor})});
    b.set_prefix("");
    // A new node: the old one may have no third operand.
    std::vector<ir::Value*> operands = {conv->inputs[0], quantized(b, w, 0, layer.name), bias};
    ir::Node* folded = graph_.add_node(conv->op, conv->attrs, std::move(operands), 1, conv->name, conv);
    folded->outputs[0]->type = norm->outputs[0]->type;
    ir::Graph::take_name(folded, conv);
    graph_.replace_uses(norm->outputs[0], folded->outputs[0]);
    for (Site& s : sites_) {
      if (s.value == norm->outputs[0]) s.value = folded->outputs[0];
      std::replace(s.readers.begin(), s.readers.end(), conv, folded);
    }
    graph_.erase(norm);
    graph_.erase(conv);
    return true;
  }

  ir::Value* state(const std::string& name) {
    names_.push_back(name);
    return graph_.add_state(name, Tensor::scalar(0.0F));
  }

  void quantize_activation(const Site& site) {
    ir::Node* before = *std::min_element(site.readers.begin(), site.readers.end(),
                                         [&](ir::Node* a, ir::Node* b) { return position(a) < position(b); });
    GraphBuilder b(graph_, before);
    ir::Value* low = state(site.name + ".low");
    ir::Value* high = state(site.name + ".high");
    if (options_.observe) {
      const std::vector<ir::Value*> next =
          b.op_n(2, "ObserveRange", {site.value, low, high}, {{"momentum", options_.momentum}}, kLowpDomain,
                 site.name + ":observe");
      for (ir::State& s : graph_.states()) {
        if (s.value == low) s.update = next[0];
        if (s.value == high) s.update = next[1];
      }
      low = next[0];
      high = next[1];
    }
    ir::Value* y = b.op("FakeQuantize", {site.value, low, high}, {{"levels", int64_t{options_.levels}}}, kLowpDomain,
                        site.name + ":fake_quantize");
    for (ir::Node* reader : site.readers) {
      for (size_t i = 0; i < reader->inputs.size(); ++i) {
        // Weights stand behind the first operand; a residual may be either.
        if (reader->inputs[i] == site.value && (i == 0 || reader->op->name == "Add")) graph_.set_input(reader, i, y);
      }
    }
  }

  ir::Graph& graph_;
  const FakeQuantization& options_;
  std::map<const ir::Value*, std::string> states_;
  std::vector<Layer> layers_;
  std::set<const ir::Node*> nodes_;
  std::vector<Site> sites_;
  std::map<const ir::Value*, ir::Value*> quantized_;
  std::vector<std::string> names_;
};

// ---- export

// Content of a value that depends on constants alone; invalid where it does not.
Result<Tensor> content(const ir::Value* v) {
  if (v->is_constant()) return v->constant;
  const ir::Node* node = v->producer;
  if (node == nullptr || !node->op->pure) return Tensor();
  std::vector<Tensor> operands;
  std::vector<const Tensor*> inputs;
  std::vector<const TensorType*> types;
  for (const ir::Value* in : node->inputs) {
    operands.emplace_back();
    if (in == nullptr) continue;
    LOWP_ASSIGN(operands.back(), content(in));
    if (!operands.back().valid()) return Tensor();
  }
  for (size_t i = 0; i < operands.size(); ++i) {
    inputs.push_back(node->inputs[i] == nullptr ? nullptr : &operands[i]);
    types.push_back(node->inputs[i] == nullptr ? nullptr : &node->inputs[i]->type);
  }
  LOWP_ASSIGN(Inferred inferred, infer_node(*node, types, inputs, 0));
  LOWP_ASSIGN(std::vector<Tensor> outputs, evaluate_node(*node, inputs, inferred.types));
  return outputs[static_cast<size_t>(v->output_index)];
}

ir::Value* export_activation(GraphBuilder& b, const ir::Node* node, int64_t levels, float low, float high) {
  const ops::QuantizationSteps steps = ops::activation_steps(low, high, levels);
  const std::string& name = node->name;
  ir::Value* x = node->inputs[0];
  if (levels < 255) {
    const auto limit = [&](int64_t stored) {
      return Tensor::scalar(static_cast<float>(stored - steps.zero) * steps.scale);
    };
    x = b.op("Clip", {x, b.constant(limit(0), name + ":lo"), b.constant(limit(levels), name + ":hi")}, {}, kOnnxDomain,
             name + ":clip");
  }
  ir::Value* s = b.constant(Tensor::scalar(steps.scale), name + ":scale");
  ir::Value* z = b.constant(Tensor::scalar(static_cast<uint8_t>(steps.zero)), name + ":zero_point");
  ir::Value* q = b.op("QuantizeLinear", {x, s, z}, {}, kOnnxDomain, name + ":quantize");
  return b.op("DequantizeLinear", {q, s, z}, {}, kOnnxDomain, name + ":dequantize");
}

ir::Value* export_weights(GraphBuilder& b, const ir::Node* node, int64_t axis, const Tensor& w, const Tensor& low,
                          const Tensor& high) {
  Tensor values = Tensor::zeros(DType::kI8, w.extents());
  Tensor scales = Tensor::zeros(DType::kF32, low.extents());
  for (int64_t c = 0; c < low.size(); ++c)
    scales.mutable_data<float>()[c] = ops::weight_steps(low.data<float>()[c], high.data<float>()[c]).scale;
  int64_t inner = 1;
  for (int i = static_cast<int>(axis) + 1; i < w.rank(); ++i) inner *= w.extent(i);
  for (int64_t i = 0; i < w.size(); ++i) {
    const int64_t c = low.rank() == 0 ? 0 : i / inner % low.size();
    const float steps = std::nearbyint(w.data<float>()[i] / scales.data<float>()[c]);
    values.mutable_data<int8_t>()[i] = static_cast<int8_t>(std::clamp(steps, -127.0F, 127.0F));
  }
  return b.op(
      "DequantizeLinear",
      {b.constant(std::move(values), node->name + ":int8"), b.constant(std::move(scales), node->name + ":scale")},
      {{"axis", axis}}, kOnnxDomain, node->name + ":dequantize");
}

// Transposes of the weights are done now: kernels are bound to weights that stand behind DequantizeLinear itself.
Status move_behind_transposes(ir::Graph& graph, ir::Value* y) {
  const ir::Node* dequantize = y->producer;
  const int64_t axis = dequantize->attrs.get<ops::QuantizeAttrs>().axis;
  for (ir::Node* user : std::vector<ir::Node*>(y->uses)) {
    if (!is_op(user, "Transpose")) continue;
    const Tensor& values = dequantize->inputs[0]->constant;
    const TensorType type = values.type();
    const std::vector<const Tensor*> inputs = {&values};
    const std::vector<const TensorType*> types = {&type};
    LOWP_ASSIGN(Inferred inferred, infer_node(*user, types, inputs, 0));
    LOWP_ASSIGN(std::vector<Tensor> transposed, evaluate_node(*user, inputs, inferred.types));
    const auto& perm = user->attrs.get<ops::TransposeAttrs>().perm;
    int64_t moved = values.rank() - 1 - axis;
    if (perm) moved = std::find(perm->begin(), perm->end(), axis) - perm->begin();
    GraphBuilder b(graph, user);
    ir::Value* z = b.op("DequantizeLinear",
                        {b.constant(std::move(transposed[0]), dequantize->inputs[0]->name), dequantize->inputs[1]},
                        {{"axis", moved}}, kOnnxDomain, dequantize->name);
    graph.replace_uses(user->outputs[0], z);
  }
  return {};
}

Status export_node(ir::Graph& graph, ir::Node* node) {
  const auto a = node->attrs.get<ops::FakeQuantizeAttrs>();
  LOWP_ASSIGN(const Tensor low, content(node->inputs[1]));
  LOWP_ASSIGN(const Tensor high, content(node->inputs[2]));
  if (!low.valid() || !high.valid())
    return error(Code::kUnsupported, "the range depends on data").with_node(node->name);
  GraphBuilder b(graph, node);
  ir::Value* y = nullptr;
  if (a.symmetric) {
    LOWP_ASSIGN(const Tensor w, content(node->inputs[0]));
    if (!w.valid()) return error(Code::kUnsupported, "the weights depend on data").with_node(node->name);
    for (float v : w.values<float>()) {
      if (!std::isfinite(v)) return error(Code::kCalibration, "a weight is {}", v).with_node(node->name);
    }
    const int64_t axis = a.axis < 0 ? a.axis + w.rank() : a.axis;
    y = export_weights(b, node, axis, w, low, high);
  } else {
    const float from = low.data<float>()[0], to = high.data<float>()[0];
    if (!std::isfinite(from) || !std::isfinite(to) || (from == 0 && to == 0))
      return error(Code::kCalibration, "the range is {} to {}: it has not been observed", from, to)
          .with_node(node->name)
          .with_hint("train some steps with ranges that are not frozen");
    y = export_activation(b, node, a.levels, from, to);
  }
  graph.replace_uses(node->outputs[0], y);
  graph.erase(node);
  return a.symmetric ? move_behind_transposes(graph, y) : Status();
}

// A channel that training switched off has weights, and with them steps, so small that a bias of common size has more
// of them than 32 bit hold; the layer could not run in INT8. Such a channel's scale is raised to where its bias stays
// below 2^29 steps, as quant/quantize.cc does: what its weights lose is beyond what f32 keeps beside that bias.
Status make_room_for_bias(ir::Graph& graph, const ir::Node* layer) {
  const bool has_bias = (is_op(layer, "Conv") || is_op(layer, "Gemm")) && layer->input(2) != nullptr;
  if (!has_bias) return {};
  const ir::Node* x = layer->inputs[0]->producer;
  ir::Node* w = layer->inputs[1]->producer;
  if (!is_op(x, "DequantizeLinear") || !is_op(w, "DequantizeLinear") || !w->inputs[0]->is_constant() ||
      !w->inputs[1]->is_constant() || !x->inputs[1]->is_constant())
    return {};
  LOWP_ASSIGN(const Tensor bias, content(layer->inputs[2]));
  const Tensor& scales = w->inputs[1]->constant;
  if (!bias.valid() || bias.size() != scales.size()) return {};
  const float of_x = x->inputs[1]->constant.data<float>()[0];
  Tensor raised = scales.clone();
  Tensor values = w->inputs[0]->constant.clone();
  const auto axis = static_cast<int>(w->attrs.get<ops::QuantizeAttrs>().axis);
  int64_t inner = 1;
  for (int i = axis + 1; i < values.rank(); ++i) inner *= values.extent(i);
  bool changed = false;
  for (int64_t c = 0; c < scales.size(); ++c) {
    const float least = std::abs(bias.data<float>()[c]) / of_x * 0x1p-29F;
    if (!(scales.data<float>()[c] < least)) continue;
    raised.mutable_data<float>()[c] = least;
    changed = true;
  }
  if (!changed) return {};
  for (int64_t i = 0; i < values.size(); ++i) {
    const int64_t c = i / inner % scales.size();
    const float steps = static_cast<float>(values.data<int8_t>()[i]) * scales.data<float>()[c];
    values.mutable_data<int8_t>()[i] = static_cast<int8_t>(std::nearbyint(steps / raised.data<float>()[c]));
  }
  graph.set_input(w, 0, graph.add_constant(w->inputs[0]->name, std::move(values)));
  graph.set_input(w, 1, graph.add_constant(w->inputs[1]->name, std::move(raised)));
  return {};
}

}  // namespace

Result<std::vector<std::string>> insert_fake_quantization(ir::Graph& graph, const FakeQuantization& options) {
  if (options.levels != 255 && options.levels != 127)
    return fail(Code::kInvalidArgument, "activations have {} levels; 255 or 127 is wanted", options.levels);
  if (!(options.momentum > 0 && options.momentum <= 1))
    return fail(Code::kInvalidArgument, "the momentum of ranges is {}; above 0 to 1 is wanted", options.momentum);
  return Inserter(graph, options).run();
}

Status export_fake_quantization(ir::Graph& graph) {
  bool found = false;
  for (ir::Node* node : graph.node_list()) {
    if (!is_op(node, "FakeQuantize", kLowpDomain)) continue;
    LOWP_TRY(export_node(graph, node));
    found = true;
  }
  if (!found) return {};
  for (const ir::Node* node : graph.node_list()) LOWP_TRY(make_room_for_bias(graph, node));
  graph.remove_dead();
  return ir::verify(graph);
}

}  // namespace lowp::quant
