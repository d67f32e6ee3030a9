#include "quant/fake_quantization.h"

#include <algorithm>

#include "ops/matmul.h"
#include "ops/movement.h"
#include "ops/norm.h"
#include "passes/match.h"
#include "quant/equalize.h"

namespace lowp::quant {
namespace {

using passes::is_op;

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
    for (Site& s : sites_) find_range(s);
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
    ir::Value* value = nullptr;
    std::vector<ir::Node*> readers;  // layers, and adds of residuals
    std::vector<ir::Node*> users;    // what stands between `value` and each of them, or they themselves
    std::string name;
    ir::Value *low = nullptr, *high = nullptr;  // of this step
    ir::Value* scales = nullptr;                // likewise, where channels are equalized
  };
  void add_site(ir::Value* v, ir::Node* reader, const std::string& name) {
    // In training a linear layer sees its rows end to end, in a Reshape of its own: what several layers read lies
    // before.
    ir::Node* user = reader;
    while (!is_op(reader, "Conv") && is_op(v->producer, "Reshape") && v->uses.size() == 1 &&
           keeps_channels(v->producer)) {
      user = v->producer;
      v = user->inputs[0];
    }
    auto it = std::ranges::find(sites_, v, &Site::value);
    if (it == sites_.end()) {
      Site site;
      site.value = v;
      site.name = name;  // but for weights that several layers share
      for (int i = 1; std::ranges::find(sites_, site.name, &Site::name) != sites_.end(); ++i)
        site.name = name + std::to_string(i);
      it = sites_.insert(sites_.end(), std::move(site));
    }
    it->readers.push_back(reader);
    it->users.push_back(user);
  }
  static bool keeps_channels(const ir::Node* reshape) {
    const TensorType &from = reshape->inputs[0]->type, &to = reshape->outputs[0]->type;
    if (!from.has_rank() || !to.has_rank() || from.rank() == 0 || to.rank() == 0) return false;
    const ir::Dim a = from.dims->back(), b = to.dims->back();
    return a.known() && b.known() && a.value() == b.value();
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
  // Whether x can be divided channel by channel at next to no cost, and the weights of all that read it multiplied.
  bool can_equalize(const Site& site) const {
    if (!options_.equalize) return false;
    for (const ir::Node* reader : site.readers) {
      const Layer* l = layer_at(reader);
      if (l == nullptr || is_op(reader, "Conv") || l->weights->type.rank() != 2 || !l->weights->type.concrete())
        return false;
      const auto shared = std::ranges::count_if(layers_, [&](const Layer& o) { return o.weights == l->weights; });
      if (shared != 1) return false;
    }
    const ir::Value* v = site.value;  // past the dropout that a step of training has and an engine has not
    if (is_op(v->producer, "Dropout", kLowpDomain)) v = v->producer->inputs[0];
    if (is_op(v->producer, "LayerNormalization")) {
      const int64_t axis = v->producer->attrs.get<ops::LayerNormAttrs>().axis;
      return axis == -1 || axis == v->type.rank() - 1;
    }
    const bool only_layers_read =
        site.value->uses.size() == site.users.size() && (v == site.value || v->uses.size() == 1);
    return is_curved(v->producer) && only_layers_read;
  }
  const Layer* layer_at(const ir::Node* node) const {
    const auto l = std::ranges::find(layers_, node, &Layer::node);
    return l == layers_.end() ? nullptr : &*l;
  }
  int position(const ir::Node* node) const {
    int i = 0;
    for (const auto& n : graph_.nodes()) {
      if (n.get() == node) return i;
      ++i;
    }
    return i;
  }

  ir::Node* first_of(const std::vector<ir::Node*>& nodes) const {
    return *std::ranges::min_element(nodes, {}, [&](const ir::Node* n) { return position(n); });
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
    // What observes them sees them as they are.
    std::vector<ir::Node*> readers = layer.weights->uses;
    std::erase_if(readers, [](const ir::Node* n) { return is_op(n, "ObserveChannels", kLowpDomain); });
    GraphBuilder b(graph_, first_of(readers));
    ir::Value* w = layer.weights;
    if (ir::Value* scales = scales_of(layer)) {
      if (layer.axis == 1) scales = b.op("Unsqueeze", {scales, b.ints({1})});
      w = b.op("Mul", {w, scales}, {}, kOnnxDomain, layer.name + ":scaled");
    }
    y = quantized(b, w, layer.axis, layer.name);
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
      std::ranges::replace(s.readers, conv, folded);
      std::ranges::replace(s.users, conv, folded);
    }
    graph_.erase(norm);
    graph_.erase(conv);
    return true;
  }

  ir::Value* state(const std::string& name, Tensor initial) {
    names_.push_back(name);
    return graph_.add_state(name, std::move(initial));
  }

  // The states that say how an activation is rounded, and what they are in this step.
  void find_range(Site& site) {
    std::vector<const Layer*> layers;
    if (can_equalize(site)) {
      for (const ir::Node* reader : site.readers) layers.push_back(layer_at(reader));
    }
    std::vector<ir::Value*> states = {state(site.name + ".low", Tensor::scalar(0.0F)),
                                      state(site.name + ".high", Tensor::scalar(0.0F))};
    if (!layers.empty()) {
      const int64_t channels = layers[0]->weights->type.extents()[static_cast<size_t>(1 - layers[0]->axis)];
      states.push_back(state(site.name + ".scales", Tensor::zeros(DType::kF32, {channels})));
    }
    std::vector<ir::Value*> now = states;
    if (options_.observe) {
      GraphBuilder b(graph_, first_of(site.users));
      std::vector<ir::Value*> operands = states;
      operands.insert(operands.begin(), site.value);
      AttrMap attrs = {{"momentum", options_.momentum}};
      if (!layers.empty()) {
        std::vector<int64_t> axes;
        for (const Layer* l : layers) {
          operands.push_back(l->weights);
          axes.push_back(1 - l->axis);
        }
        attrs["axes"] = axes;
      }
      now = b.op_n(states.size(), layers.empty() ? "ObserveRange" : "ObserveChannels", operands, attrs, kLowpDomain,
                   site.name + ":observe");
      for (ir::State& s : graph_.states()) {
        for (size_t i = 0; i < states.size(); ++i) {
          if (s.value == states[i]) s.update = now[i];
        }
      }
    }
    site.low = now[0];
    site.high = now[1];
    if (!layers.empty()) site.scales = now[2];
  }
  ir::Value* scales_of(const Layer& layer) const {
    for (const Site& s : sites_) {
      if (s.scales != nullptr && std::ranges::find(s.readers, layer.node) != s.readers.end()) return s.scales;
    }
    return nullptr;
  }

  void quantize_activation(const Site& site) {
    GraphBuilder b(graph_, first_of(site.users));
    std::vector<ir::Value*> operands = {site.value, site.low, site.high};
    if (site.scales != nullptr) operands.push_back(site.scales);
    ir::Value* y = b.op("FakeQuantize", operands, {{"levels", int64_t{options_.levels}}}, kLowpDomain,
                        site.name + ":fake_quantize");
    for (ir::Node* user : site.users) {
      for (size_t i = 0; i < user->inputs.size(); ++i) {
        // Weights stand behind the first operand; a residual may be either.
        if (user->inputs[i] == site.value && (i == 0 || user->op->name == "Add")) graph_.set_input(user, i, y);
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

}  // namespace

Result<std::vector<std::string>> insert_fake_quantization(ir::Graph& graph, const FakeQuantization& options) {
  if (options.levels != 255 && options.levels != 127)
    return fail(Code::kInvalidArgument, "activations have {} levels; 255 or 127 is wanted", options.levels);
  if (!(options.momentum > 0 && options.momentum <= 1))
    return fail(Code::kInvalidArgument, "the momentum of ranges is {}; above 0 to 1 is wanted", options.momentum);
  return Inserter(graph, options).run();
}

}  // namespace lowp::quant
