// LSTM and GRU with the usual activations become, for each direction, the input's product for all steps at once and the
// recurrence (lowp.LSTM, lowp.GRU). Constant weights are taken apart here; the product is then a MatMul and an Add,
// which quantize and pack like any other layer. Weights that vary (states of a graph that is trained, inputs) are taken
// apart by nodes, all of which have gradients.
#include <algorithm>

#include "ops/recurrent.h"
#include "passes/match.h"
#include "passes/pass.h"

namespace lowp::passes {
namespace {

bool is_float_constant(const ir::Value* v) {
  return v != nullptr && v->is_constant() && v->constant.dtype() == DType::kF32;
}

bool usual_activations(const ops::RecurrentAttrs& a, bool lstm) {
  const std::vector<std::string_view> names = lstm ? std::vector<std::string_view>{"sigmoid", "tanh", "tanh"}
                                                   : std::vector<std::string_view>{"sigmoid", "tanh"};
  for (size_t i = 0; i < a.activations.size(); ++i) {
    std::string name = a.activations[i];
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (name != names[i % names.size()]) return false;
  }
  return true;
}

// Elements [first, first + count) of a constant, as a tensor of the given shape.
Tensor part(const ir::Value* v, int64_t first, Extents extents) {
  Tensor t = Tensor::zeros(DType::kF32, std::move(extents));
  std::copy_n(v->constant.data<float>() + first, t.size(), t.mutable_data<float>());
  return t;
}

class Splitter {
 public:
  Splitter(ir::Graph& graph, ir::Node* node)
      : graph_(graph),
        node_(node),
        lstm_(node->op->name == "LSTM"),
        a_(node->attrs.get<ops::RecurrentAttrs>()),
        b_(graph, node) {}

  bool split() {
    if (!usual_activations(a_, lstm_) || !read_weights()) return false;
    ir::Value* x = node_->inputs[0];
    // [B, S, I] to [S, B, I], and states likewise.
    if (a_.layout == 1) x = transpose(x, {1, 0, 2});
    std::vector<ir::Value*> y, h, c;
    for (int64_t d = 0; d < a_.directions(); ++d) {
      const std::vector<ir::Value*> out = direction(x, d);
      y.push_back(b_.op("Unsqueeze", {out[0], b_.ints({1})}));
      h.push_back(b_.op("Unsqueeze", {out[1], b_.ints({0})}));
      if (lstm_) c.push_back(b_.op("Unsqueeze", {out[2], b_.ints({0})}));
    }
    finish(0, y, 1, {2, 0, 1, 3});
    finish(1, h, 0, {1, 0, 2});
    if (lstm_) finish(2, c, 0, {1, 0, 2});
    return true;
  }

 private:
  // Whether the weights are of a kind that can be split, and how large they are.
  bool read_weights() {
    constant_ = node_->inputs[0]->type.dtype == DType::kF32;
    const DType dtype = node_->inputs[0]->type.dtype;
    for (size_t i : {1, 2, 3, 7}) {
      const ir::Value* v = node_->input(i);
      if (v == nullptr) continue;
      if (!is_float_constant(v)) constant_ = false;
      if (v->type.dtype != dtype || (dtype != DType::kF32 && dtype != DType::kF64)) return false;
    }
    for (size_t i : {1, 2}) {
      const TensorType& t = node_->inputs[i]->type;
      if (t.rank() != 3 || !(*t.dims)[2].known()) return false;
    }
    hidden_ = (*node_->inputs[2]->type.dims)[2].value();
    rows_ = (lstm_ ? 4 : 3) * hidden_;
    return hidden_ >= 1 && hidden_ <= kernels::kMaxInt8K && (*node_->inputs[1]->type.dims)[2].value() >= 1;
  }

  // Direction d of an operand that has one slice of a direction along `axis`.
  ir::Value* direction_of(ir::Value* v, int64_t d, int64_t axis = 0) {
    if (a_.directions() > 1) {
      v = b_.op_n(2, "Split", {v, b_.ints({1, 1})}, {{"axis", axis}})[static_cast<size_t>(d)];
    }
    return b_.op("Squeeze", {v, b_.ints({axis})});
  }

  // What the recurrence takes besides states and lengths.
  struct Parts {
    ir::Value* xw = nullptr;
    ir::Value* r = nullptr;
    ir::Value* hidden_bias = nullptr;
    ir::Value* peephole = nullptr;
  };
  Parts varying_parts(ir::Value* x, int64_t d, const std::string& name) {
    Parts p;
    p.xw = b_.op("MatMul", {x, direction_of(node_->inputs[1], d)}, {{"trans_b", int64_t{1}}}, kLowpDomain,
                 name + ":input");
    p.r = direction_of(node_->inputs[2], d);
    if (ir::Value* bias = node_->input(3)) {
      const std::vector<ir::Value*> halves =
          b_.op_n(2, "Split", {direction_of(bias, d), b_.ints({rows_, rows_})}, {{"axis", int64_t{0}}});
      ir::Value* recurrent = halves[1];
      if (!lstm_ && a_.linear_before_reset != 0) {
        // The hidden gate's own bias is reset with its product.
        const std::vector<ir::Value*> gates =
            b_.op_n(2, "Split", {recurrent, b_.ints({2 * hidden_, hidden_})}, {{"axis", int64_t{0}}});
        p.hidden_bias = gates[1];
        ir::Value* zeros = b_.constant(Tensor::zeros(bias->type.dtype, {hidden_}), "zeros");
        recurrent = b_.op("Concat", {gates[0], zeros}, {{"axis", int64_t{0}}});
      }
      p.xw = b_.op("Add", {p.xw, b_.op("Add", {halves[0], recurrent})}, {}, kOnnxDomain, name + ":input_bias");
    }
    if (ir::Value* peephole = lstm_ ? node_->input(7) : nullptr) p.peephole = direction_of(peephole, d);
    return p;
  }

  ir::Value* transpose(ir::Value* v, std::vector<int64_t> perm) {
    return b_.op("Transpose", {v}, {{"perm", std::move(perm)}});
  }

  // Direction d of an initial state, or null.
  ir::Value* state(size_t operand, int64_t d) {
    ir::Value* v = node_->input(operand);
    if (v == nullptr) return nullptr;
    if (!constant_) return direction_of(v, d, a_.layout);
    return b_.op("Gather", {v, b_.constant(Tensor::scalar(d))}, {{"axis", a_.layout == 1 ? int64_t{1} : int64_t{0}}});
  }

  Parts constant_parts(ir::Value* x, int64_t d, const std::string& name) {
    Parts p;
    const int64_t inputs = node_->inputs[1]->constant.extent(2);
    Tensor w = Tensor::zeros(DType::kF32, {inputs, rows_});
    const float* from = node_->inputs[1]->constant.data<float>() + d * rows_ * inputs;
    for (int64_t n = 0; n < rows_; ++n) {
      for (int64_t k = 0; k < inputs; ++k) w.mutable_data<float>()[k * rows_ + n] = from[n * inputs + k];
    }
    p.xw = b_.op("MatMul", {x, b_.constant(std::move(w), name + ":w")}, {}, kOnnxDomain, name + ":input");
    if (const ir::Value* bias = node_->input(3)) {
      const Tensor both = part(bias, d * 2 * rows_, {2, rows_});
      Tensor sum = Tensor::zeros(DType::kF32, {rows_});
      for (int64_t n = 0; n < rows_; ++n) {
        // The hidden gate's own bias is reset with its product.
        const bool apart = !lstm_ && a_.linear_before_reset != 0 && n >= 2 * hidden_;
        sum.mutable_data<float>()[n] = both.data<float>()[n] + (apart ? 0.0F : both.data<float>()[rows_ + n]);
      }
      p.xw = b_.op("Add", {p.xw, b_.constant(std::move(sum), name + ":bias")}, {}, kOnnxDomain, name + ":input_bias");
      if (!lstm_ && a_.linear_before_reset != 0)
        p.hidden_bias = b_.constant(part(bias, (d * 2 + 1) * rows_ + 2 * hidden_, {hidden_}), name + ":hidden_bias");
    }
    p.r = b_.constant(part(node_->inputs[2], d * rows_ * hidden_, {rows_, hidden_}), name + ":r");
    if (const ir::Value* v = lstm_ ? node_->input(7) : nullptr)
      p.peephole = b_.constant(part(v, d * 3 * hidden_, {3 * hidden_}), name + ":peephole");
    return p;
  }

  // y, h and (LSTM) c of one direction.
  std::vector<ir::Value*> direction(ir::Value* x, int64_t d) {
    const std::string name = node_->name + (a_.directions() == 1 ? "" : d == 0 ? ":forward" : ":reverse");
    const Parts p = constant_ ? constant_parts(x, d, name) : varying_parts(x, d, name);
    ops::RecurrenceAttrs attrs;
    attrs.hidden = hidden_;
    attrs.reverse = a_.direction == "reverse" || d == 1;
    attrs.clip = a_.clip;
    attrs.coupled = a_.input_forget != 0;
    attrs.linear_before_reset = a_.linear_before_reset != 0;
    std::vector<ir::Value*> operands = {p.xw, p.r, nullptr, nullptr, node_->input(4), state(5, d)};
    if (lstm_) {
      operands.push_back(state(6, d));
      operands.push_back(p.peephole);
    } else {
      operands.push_back(p.hidden_bias);
    }
    const OpDef& recurrence = op(lstm_ ? "LSTM" : "GRU", kLowpDomain);
    return b_.op_n(lstm_ ? 3 : 2, recurrence.name, std::move(operands), recurrence.attrs.write(ir::Attrs::make(attrs)),
                   kLowpDomain, name);
  }

  // Output i of the node from that of each direction, which meet along `axis`.
  void finish(size_t i, const std::vector<ir::Value*>& parts, int64_t axis, std::vector<int64_t> batch_first) {
    if (i >= node_->outputs.size() || node_->outputs[i] == nullptr) return;
    ir::Value* whole = parts.size() == 1 ? parts[0] : b_.op("Concat", parts, {{"axis", axis}});
    if (a_.layout == 1) whole = transpose(whole, std::move(batch_first));
    ir::Graph::take_name(whole, node_->outputs[i]);
    graph_.replace_uses(node_->outputs[i], whole);
  }

  ir::Graph& graph_;
  ir::Node* node_;
  bool lstm_;
  const ops::RecurrentAttrs& a_;
  GraphBuilder b_;
  bool constant_ = false;  // all weights are
  int64_t hidden_ = 0, rows_ = 0;
};

}  // namespace

Result<int> split_recurrent(ir::Graph& graph, const PassOptions&) {
  int changed = 0;
  for (ir::Node* node : graph.node_list()) {
    if ((is_op(node, "LSTM") || is_op(node, "GRU")) && Splitter(graph, node).split()) ++changed;
  }
  return changed;
}

}  // namespace lowp::passes
