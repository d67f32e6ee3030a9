// Chooses the layout of every value: channels-last around convolutions and pools, carried through element-wise ops,
// plain elsewhere. lowp.Reorder nodes stand only where the two meet; one serves all readers.
#include <map>

#include "kernels/layout/layout.h"
#include "passes/match.h"
#include "passes/pass.h"

namespace lowp::passes {
namespace {

using ir::Layout;

bool can_be_channels_last(const ir::Value* v) { return v->type.rank() >= 3; }

class LayoutAssigner {
 public:
  explicit LayoutAssigner(ir::Graph& graph) : graph_(graph) {}

  Result<int> run() {
    for (ir::Node* node : graph_.node_list()) {
      switch (rule(node)) {
        case LayoutRule::kChannelsLast:
          for (size_t i = 0; i < node->inputs.size(); ++i)
            want(node, i, marked(node->op->channels_last_inputs, i) ? Layout::kChannelsLast : Layout::kPlain);
          for (size_t i = 0; i < node->outputs.size(); ++i) {
            if (node->outputs[i] != nullptr && marked(node->op->channels_last_outputs, i))
              node->outputs[i]->layout = Layout::kChannelsLast;
          }
          break;
        case LayoutRule::kAny: follow(node); break;
        case LayoutRule::kPlain:
          for (size_t i = 0; i < node->inputs.size(); ++i) want(node, i, Layout::kPlain);
          break;
      }
    }
    for (auto& output : graph_.outputs()) output.value = in_layout(output.value, Layout::kPlain, nullptr);
    for (auto& state : graph_.states()) {
      if (state.update != nullptr) state.update = in_layout(state.update, Layout::kPlain, nullptr);
    }
    return reorders_;
  }

 private:
  static LayoutRule rule(const ir::Node* node) {
    if (node->op->layout != LayoutRule::kChannelsLast) return node->op->layout;
    const uint32_t in = node->op->channels_last_inputs, out = node->op->channels_last_outputs;
    for (size_t i = 0; i < node->inputs.size(); ++i) {
      if (marked(in, i) && node->inputs[i] != nullptr && !can_be_channels_last(node->inputs[i]))
        return LayoutRule::kPlain;
    }
    for (size_t i = 0; i < node->outputs.size(); ++i) {
      if (node->outputs[i] == nullptr) continue;
      // A further output of an image's shape counts positions in plain order: the indices of a pool.
      if (marked(out, i) ? !can_be_channels_last(node->outputs[i])
                         : marked(out, 0) && can_be_channels_last(node->outputs[i]))
        return LayoutRule::kPlain;
    }
    return LayoutRule::kChannelsLast;
  }
  static bool marked(uint32_t mask, size_t i) { return i < 32 && (mask >> i & 1U) != 0; }

  ir::Value* in_layout(ir::Value* v, Layout layout, ir::Node* before) {
    if (v->layout == layout) return v;
    // A value that came from a Reorder has its source at hand.
    if (const ir::Node* r = producer(v, "Reorder", kLowpDomain); r != nullptr && r->inputs[0]->layout == layout)
      return r->inputs[0];
    auto& cached = converted_[v];
    if (cached == nullptr) {
      if (v->is_constant()) {
        cached = graph_.add_constant(v->name + ":" + std::string(ir::layout_name(layout)), converted(v->constant));
      } else {
        ir::Node* node = graph_.add_node(&op("Reorder", kLowpDomain), Attrs::make(ir::NoAttrs{}), {v}, 1,
                                         v->name + ":reorder", before);
        cached = node->outputs[0];
        ++reorders_;
      }
      cached->type = v->type;
      cached->layout = layout;
    }
    return cached;
  }

  // A constant's bytes as channels-last. Its extents stay the logical ones.
  static Tensor converted(const Tensor& t) {
    const Extents& e = t.extents();
    std::vector<int> perm = {0};
    for (int i = 2; i < t.rank(); ++i) perm.push_back(i);
    perm.push_back(1);
    Tensor out = Tensor::zeros(t.dtype(), e);
    kernels::transpose(e.data(), perm.data(), t.rank(), dtype_bytes(t.dtype(), 1), t.raw(), out.mutable_raw(), 1);
    return out;
  }

  void want(ir::Node* node, size_t i, Layout layout) {
    ir::Value* v = node->input(i);
    if (v == nullptr) return;
    ir::Value* w = in_layout(v, layout, node);
    if (w != v) graph_.set_input(node, i, w);
  }

  // Element-wise: channels-last if an operand of the output's rank is, and the others can be brought there.
  void follow(ir::Node* node) {
    const int rank = node->outputs[0]->type.rank();
    bool last = false;
    bool possible = rank >= 3 && node->outputs.size() == 1;
    for (const ir::Value* v : node->inputs) {
      if (v == nullptr) continue;
      last = last || v->layout == Layout::kChannelsLast;
      const bool is_scalar_operand = v->type.concrete() && ir::checked_element_count(v->type.extents()) == 1;
      if (!is_scalar_operand && v->type.rank() != rank &&
          !(v->is_constant() && v->type.rank() < rank && is_op_elementwise(node)))
        possible = false;
      // A vector of scales along an axis names the axis in plain order.
      if ((is_op(node, "QuantizeLinear") || is_op(node, "DequantizeLinear")) && v != node->inputs[0] &&
          !is_scalar_operand)
        possible = false;
    }
    if (!last || !possible) {
      for (size_t i = 0; i < node->inputs.size(); ++i) want(node, i, Layout::kPlain);
      return;
    }
    for (size_t i = 0; i < node->inputs.size(); ++i) {
      ir::Value* v = node->input(i);
      if (v == nullptr ||
          (v->type.concrete() && ir::checked_element_count(v->type.extents()) == 1 && v->type.rank() < rank))
        continue;
      if (v->type.rank() < rank) {
        Extents e(static_cast<size_t>(rank - v->type.rank()), 1);
        e.insert(e.end(), v->constant.extents().begin(), v->constant.extents().end());
        v = graph_.add_constant(v->name + ":ranked", v->constant.reshaped(e));
        graph_.set_input(node, i, v);
      }
      want(node, i, Layout::kChannelsLast);
    }
    node->outputs[0]->layout = Layout::kChannelsLast;
  }

  static bool is_op_elementwise(const ir::Node* node) {
    return node->op->layout == LayoutRule::kAny && !is_op(node, "PRelu");
  }

  ir::Graph& graph_;
  std::map<ir::Value*, ir::Value*> converted_;
  int reorders_ = 0;
};

}  // namespace

Result<int> assign_layout(ir::Graph& graph, const PassOptions&) { return LayoutAssigner(graph).run(); }

}  // namespace lowp::passes
