// Conv, MatMul and Gemm with constant weights become lowp.Conv and lowp.Linear, their weights packed in the order that
// kernels read. Where DequantizeLinear gives both the input and the weights, the kernel is an INT8 one. Gather from an
// INT8 table becomes lowp.Embedding. lowp.LSTM and lowp.GRU get their recurrent weights packed. Every converted node
// records the precision that runs.
#include "ops/matmul.h"
#include "ops/packed.h"
#include "ops/recurrent.h"
#include "ops/reference.h"
#include "ops/window.h"
#include "passes/match.h"
#include "passes/pass.h"

namespace lowp::passes {
namespace {

// Constant weights of a layer as a matrix or filter, either float or s8 with a scale for each output channel.
struct Weights {
  Tensor values;              // f32, or s8 when quantized
  std::vector<float> scales;  // INT8: one for each output channel
  bool int8() const { return !scales.empty(); }
};

// Float content of constant weights: the value itself, or what a DequantizeLinear of a constant computes.
std::optional<Tensor> float_weights(const ir::Value* v) {
  if (v->is_constant()) return v->constant.dtype() == DType::kF32 ? std::optional(v->constant) : std::nullopt;
  const ir::Node* dq = producer(v, "DequantizeLinear");
  if (dq == nullptr || v->type.dtype != DType::kF32 || !v->type.concrete()) return std::nullopt;
  std::vector<const Tensor*> inputs;
  for (const ir::Value* in : dq->inputs) {
    if (in != nullptr && !in->is_constant()) return std::nullopt;
    inputs.push_back(in == nullptr ? nullptr : &in->constant);
  }
  Tensor out = Tensor::zeros(DType::kF32, v->type.extents());
  EvalContext ctx(*dq, inputs, std::span(&out, 1));
  if (!dq->op->reference(ctx).is_ok()) return std::nullopt;
  return out;
}

// s8 content of a DequantizeLinear of constant 8-bit weights, symmetric, scaled per tensor or along `channel_axis`.
// u8 weights with zero point 128 are s8 weights with an offset.
std::optional<Weights> int8_weights(const ir::Value* v, int channel_axis) {
  const ir::Node* dq = producer(v, "DequantizeLinear");
  if (dq == nullptr || !dq->inputs[0]->is_constant() || !dq->inputs[1]->is_constant() ||
      dq->inputs[1]->constant.dtype() != DType::kF32)
    return std::nullopt;
  const Tensor& w = dq->inputs[0]->constant;
  const Tensor& s = dq->inputs[1]->constant;
  if ((w.dtype() != DType::kI8 && w.dtype() != DType::kU8) || w.rank() < 2) return std::nullopt;
  const int64_t offset = w.dtype() == DType::kU8 ? 128 : 0;
  if (dq->input(2) != nullptr) {
    if (!dq->inputs[2]->is_constant()) return std::nullopt;
    for (int64_t z : dq->inputs[2]->constant.to_int64s()) {
      if (z != offset) return std::nullopt;
    }
  } else if (offset != 0) {
    return std::nullopt;
  }
  const int64_t channels = w.extent(channel_axis);
  Weights result;
  if (s.size() == 1) {
    result.scales.assign(static_cast<size_t>(channels), s.data<float>()[0]);
  } else {
    const AttrMap attrs = dq->op->attrs.write(dq->attrs);
    int64_t axis = std::get<int64_t>(attrs.at("axis"));
    if (axis < 0) axis += w.rank();
    if (axis != channel_axis || s.rank() != 1 || s.size() != channels) return std::nullopt;
    result.scales.assign(s.data<float>(), s.data<float>() + channels);
  }
  for (float x : result.scales) {
    if (!(x > 0) || !std::isfinite(x)) return std::nullopt;
  }
  if (offset == 0) {
    result.values = w;
  } else {
    result.values = Tensor::zeros(DType::kI8, w.extents());
    for (int64_t i = 0; i < w.size(); ++i)
      result.values.mutable_data<int8_t>()[i] = static_cast<int8_t>(w.data<uint8_t>()[i] - 128);
  }
  return result;
}

// The quantized input of a layer: DequantizeLinear per tensor with constant operands.
struct QuantizedInput {
  ir::Value* value;
  TensorQuantization q;
};
std::optional<QuantizedInput> int8_input(const ir::Value* v) {
  const ir::Node* dq = producer(v, "DequantizeLinear");
  if (dq == nullptr || dq->inputs[0]->is_constant()) return std::nullopt;
  auto q = tensor_quantization(dq);
  if (!q) return std::nullopt;
  return QuantizedInput{dq->inputs[0], *q};
}

// Whether activations are limited to 0..127 where they are quantized, padding included: Clip before QuantizeLinear says
// so.
bool is_seven_bit(const QuantizedInput& x) {
  if (x.q.dtype != DType::kU8 || x.q.zero > 127) return false;
  const ir::Node* q = producer(x.value, "QuantizeLinear");
  // Reshapes and the like between do not matter.
  const ir::Value* v = x.value;
  while (q == nullptr && v->producer != nullptr && v->producer->op->quantize == QuantRule::kPassThrough) {
    v = v->producer->inputs[0];
    q = producer(v, "QuantizeLinear");
  }
  if (q == nullptr) return false;
  const ir::Node* clip = producer(q->inputs[0], "Clip");
  if (clip == nullptr) return false;
  auto hi = scalar(clip->input(2));
  return hi && std::nearbyint(*hi / static_cast<double>(x.q.scale)) + static_cast<double>(x.q.zero) <= 127;
}

// INT8 operands beyond the packed weights: bias with the zero point folded in, scale of each channel.
struct Int8Operands {
  Tensor bias;
  Tensor scale;
};
// nullopt where the bias does not fit s32 beside the largest sum.
std::optional<Int8Operands> int8_operands(const Weights& w, const QuantizedInput& x, const std::vector<int32_t>& sums,
                                          const std::vector<float>& bias, int64_t k) {
  const auto n = static_cast<int64_t>(w.scales.size());
  std::vector<int32_t> rounded(static_cast<size_t>(n), 0);
  Int8Operands out{Tensor::zeros(DType::kI32, {n}), Tensor::zeros(DType::kF32, {n})};
  const double room = 2147483647.0 - static_cast<double>(k) * 2 * 255 * 128;
  for (int64_t i = 0; i < n; ++i) {
    const float scale = x.q.scale * w.scales[static_cast<size_t>(i)];
    out.scale.mutable_data<float>()[i] = scale;
    if (bias.empty()) continue;
    const double b = std::nearbyint(static_cast<double>(bias[static_cast<size_t>(i)]) / static_cast<double>(scale));
    if (!(std::abs(b) < room)) return std::nullopt;
    rounded[static_cast<size_t>(i)] = static_cast<int32_t>(b);
  }
  kernels::fold_zero_point(rounded.data(), sums.data(), n, x.q.dtype, static_cast<int32_t>(x.q.zero),
                           out.bias.mutable_data<int32_t>());
  return out;
}

void set_precision(ir::Node* node, const ir::Node* original, DType executed) {
  node->precision = original->precision;
  node->precision.executed = executed;
  if (node->precision.requested == executed || node->precision.requested == DType::kInvalid)
    node->precision.reason.clear();
}

// Bias values of a constant operand (plain or dequantized s32), empty where absent.
std::optional<std::vector<float>> bias_values(const ir::Value* v, int64_t n) {
  if (v == nullptr) return std::vector<float>{};
  auto t = float_weights(v);
  if (!t) return std::nullopt;
  if (t->size() == 1) return std::vector<float>(static_cast<size_t>(n), t->data<float>()[0]);
  if (t->size() != n || t->extent(t->rank() - 1) != n) return std::nullopt;
  return std::vector<float>(t->data<float>(), t->data<float>() + n);
}

using kernels::Int8Class;

// The class with the fewest instructions for which weights are safe, as the attribute holds it.
template <typename Safe>
int64_t int8_class_of(bool seven_bit, Safe&& safe) {
  for (const Int8Class c : {Int8Class::kA7Oct, Int8Class::kA7Quad}) {
    if (seven_bit && safe(c)) return static_cast<int64_t>(c);
  }
  return static_cast<int64_t>(Int8Class::kExact8);
}

constexpr const char* kBiasTooLarge = "a bias is too large for s32 beside the largest sum of the layer";

// Whether a convolution's images are known to be so small that 16 transformed filters a channel take longer to read
// than 9 plain ones to multiply (512 channels, 3 x 3 pixels: 0.94x).
bool is_small(const TensorType& y) {
  constexpr int64_t kFewPixels = 9;
  if (y.rank() != 4 || !(*y.dims)[2].known() || !(*y.dims)[3].known()) return false;
  return (*y.dims)[2].value() * (*y.dims)[3].value() <= kFewPixels;
}

class Packer {
 public:
  Packer(ir::Graph& graph, const PassOptions& options) : graph_(graph), options_(options) {}

  // Whether the node was replaced.
  bool matmul(ir::Node* node) {
    const bool is_gemm = is_op(node, "Gemm");
    ops::GemmAttrs gemm;
    if (is_gemm) gemm = node->attrs.get<ops::GemmAttrs>();
    if (gemm.trans_a || node->inputs[1]->type.rank() != 2 || node->inputs[0]->type.rank() < 1) return false;
    const int channel_axis = gemm.trans_b ? 0 : 1;
    auto whole = float_weights(node->inputs[1]);
    if (!whole) return false;
    ops::LinearAttrs attrs;
    attrs.n = whole->extent(channel_axis);
    attrs.k = whole->extent(1 - channel_axis);
    if (attrs.n < 1 || attrs.k < 1) return false;
    auto bias = bias_values(node->input(2), attrs.n);
    if (!bias) return false;
    if (gemm.beta != 1.0F) {
      for (float& b : *bias) b *= gemm.beta;
    }
    auto input = gemm.alpha == 1.0F ? int8_input(node->inputs[0]) : std::nullopt;
    auto weights = input ? int8_weights(node->inputs[1], channel_axis) : std::nullopt;
    if (weights && attrs.k <= kernels::kMaxInt8K) {
      std::vector<int32_t> sums(static_cast<size_t>(attrs.n));
      const Tensor& w = weights->values;
      kernels::column_sums(w.data<int8_t>(), w.extent(1), gemm.trans_b, attrs.k, attrs.n, sums.data());
      if (auto operands = int8_operands(*weights, *input, sums, *bias, attrs.k)) {
        attrs.in_scale = input->q.scale;
        attrs.in_zero = input->q.zero;
        attrs.int8_class = int8_class_of(is_seven_bit(*input), [&](Int8Class c) {
          return kernels::a7_safe(c, w.data<int8_t>(), w.extent(1), gemm.trans_b, attrs.k, attrs.n);
        });
        replace(node, "Linear", ops::LinearAttrs(attrs), input->value,
                ops::pack_linear_weights(w, gemm.trans_b, DType::kI8), std::move(operands->bias),
                std::move(operands->scale));
        return true;
      }
      node->precision.reason = kBiasTooLarge;
    }
    if (node->inputs[0]->type.dtype != DType::kF32) return false;
    Tensor w = *whole;
    if (gemm.alpha != 1.0F) {
      w = w.clone();
      for (int64_t i = 0; i < w.size(); ++i) w.mutable_data<float>()[i] *= gemm.alpha;
    }
    replace(node, "Linear", ops::LinearAttrs(attrs), node->inputs[0],
            ops::pack_linear_weights(w, gemm.trans_b, options_.weight_dtype), bias_tensor(*bias), {});
    return true;
  }

  bool conv(ir::Node* node) {
    const auto& a = node->attrs.get<ops::ConvAttrs>();
    auto whole = float_weights(node->inputs[1]);
    const int rank = node->inputs[0]->type.rank();
    if (!whole || (rank != 3 && rank != 4) || whole->rank() != rank) return false;
    ops::PackedConvAttrs attrs;
    attrs.auto_pad = a.auto_pad.empty() ? "NOTSET" : a.auto_pad;
    attrs.group = a.group;
    attrs.out_channels = whole->extent(0);
    attrs.in_channels = whole->extent(1) * a.group;
    auto two = [&](const std::vector<int64_t>& v, int64_t fill) {
      std::vector<int64_t> out = v.empty() ? std::vector<int64_t>(static_cast<size_t>(rank) - 2, fill) : v;
      if (rank == 3) out.insert(out.begin(), fill);
      return out;
    };
    attrs.kernel_shape = two(Extents(whole->extents().begin() + 2, whole->extents().end()), 1);
    attrs.strides = two(a.strides, 1);
    attrs.dilations = two(a.dilations, 1);
    if (!a.pads.empty()) attrs.pads = rank == 3 ? std::vector<int64_t>{0, a.pads[0], 0, a.pads[1]} : a.pads;
    for (int64_t k : attrs.kernel_shape) {
      if (k < 1 || k > 4096) return false;
    }
    auto bias = bias_values(node->input(2), attrs.out_channels);
    if (!bias) return false;
    auto input = int8_input(node->inputs[0]);
    auto weights = input ? int8_weights(node->inputs[1], 0) : std::nullopt;
    const int64_t k = whole->size() / attrs.out_channels;
    if (weights && k <= kernels::kMaxInt8K) {
      std::vector<int32_t> sums(static_cast<size_t>(attrs.out_channels));
      const Tensor& w = weights->values;
      kernels::column_sums(w.data<int8_t>(), k, true, k, attrs.out_channels, sums.data());
      if (auto operands = int8_operands(*weights, *input, sums, *bias, k)) {
        attrs.in_scale = input->q.scale;
        attrs.in_zero = input->q.zero;
        attrs.int8_class = int8_class_of(is_seven_bit(*input), [&](Int8Class c) {
          if (attrs.depthwise()) return c == Int8Class::kA7Quad;  // with any weights
          return kernels::a7_safe_conv(c, w.data<int8_t>(), attrs.out_channels, attrs.in_channels / attrs.group,
                                       attrs.kernel_shape[0], attrs.kernel_shape[1]);
        });
        if (ops::winograd_fits(attrs))
          attrs.weight_sum = kernels::largest_weight_sum(w.data<int8_t>(), k, attrs.out_channels);
        Tensor packed = ops::pack_conv_weights(w, attrs, DType::kI8);
        replace(node, "Conv", std::move(attrs), input->value, std::move(packed), std::move(operands->bias),
                std::move(operands->scale));
        return true;
      }
      node->precision.reason = kBiasTooLarge;
    }
    if (node->inputs[0]->type.dtype != DType::kF32) return false;
    // Depthwise layers are bound by memory for activations, not weights: they stay f32.
    const DType dtype = attrs.depthwise() ? DType::kF32 : options_.weight_dtype;
    attrs.winograd = dtype == DType::kF32 && ops::winograd_fits(attrs) && !is_small(node->outputs[0]->type);
    Tensor packed = ops::pack_conv_weights(*whole, attrs, dtype);
    if (attrs.depthwise() && options_.weight_dtype != DType::kF32)
      node->precision.reason = "depthwise convolutions have FP32 and INT8 kernels only";
    replace(node, "Conv", std::move(attrs), node->inputs[0], std::move(packed), bias_tensor(*bias), {});
    return true;
  }

  // Recurrent weights. INT8 where the quantizer says how the state is quantized.
  bool recurrence(ir::Node* node) {
    ir::Value* r = node->inputs[ops::kRecurrenceR];
    auto whole = r->type.rank() == 2 ? float_weights(r) : std::nullopt;
    if (!whole) return false;
    auto attrs = node->attrs.get<ops::RecurrenceAttrs>();
    const kernels::RnnKind kind = node->op->name == "LSTM" ? kernels::RnnKind::kLstm : kernels::RnnKind::kGru;
    const auto weights = attrs.h_scale > 0 ? int8_weights(r, 0) : std::nullopt;
    DType dtype = options_.weight_dtype;
    if (weights) {
      const Tensor& w = weights->values;
      const int64_t rows = w.extent(0);
      std::vector<int32_t> sums(static_cast<size_t>(rows));
      kernels::column_sums(w.data<int8_t>(), attrs.hidden, true, attrs.hidden, rows, sums.data());
      Tensor bias = Tensor::zeros(DType::kI32, {rows});
      kernels::fold_zero_point(nullptr, sums.data(), rows, DType::kU8, static_cast<int32_t>(attrs.h_zero),
                               bias.mutable_data<int32_t>());
      Tensor scale = Tensor::zeros(DType::kF32, {rows});
      for (int64_t i = 0; i < rows; ++i)
        scale.mutable_data<float>()[i] = attrs.h_scale * weights->scales[static_cast<size_t>(i)];
      attrs.int8_class = int8_class_of(attrs.h_max <= 127, [&](Int8Class c) {
        return kernels::a7_safe(c, w.data<int8_t>(), attrs.hidden, true, attrs.hidden, rows);
      });
      node->attrs = Attrs::make(ops::RecurrenceAttrs(attrs));
      graph_.set_input(node, ops::kRecurrenceScale, graph_.add_constant(node->name + ":scale", std::move(scale)));
      graph_.set_input(node, ops::kRecurrenceBias, graph_.add_constant(node->name + ":zero_bias", std::move(bias)));
      dtype = DType::kI8;
    }
    Tensor packed = ops::pack_recurrent_weights(weights ? weights->values : *whole, kind, dtype);
    graph_.set_input(node, ops::kRecurrenceR, graph_.add_constant(node->name + ":weights", std::move(packed)));
    set_precision(node, node, dtype);
    return true;
  }

  bool gather(ir::Node* node) {
    const AttrMap attrs = node->op->attrs.write(node->attrs);
    if (std::get<int64_t>(attrs.at("axis")) != 0) return false;
    auto table = int8_weights(node->inputs[0], 0);
    if (!table || table->values.rank() != 2) return false;
    const auto rows = static_cast<int64_t>(table->scales.size());
    GraphBuilder b(graph_, node);
    ir::Value* values = b.constant(table->values, node->inputs[0]->name + ":rows");
    ir::Value* scales = b.constant(Tensor::from<float>({rows}, std::span<const float>(table->scales)),
                                   node->inputs[0]->name + ":scales");
    ir::Value* y = b.op("Embedding", {values, scales, node->inputs[1]}, {}, kLowpDomain, node->name);
    set_precision(y->producer, node, DType::kI8);
    ir::Graph::take_name(y->producer, node);
    ir::Graph::take_name(y, node->outputs[0]);
    graph_.replace_uses(node->outputs[0], y);
    return true;
  }

 private:
  static Tensor bias_tensor(const std::vector<float>& bias) {
    if (bias.empty()) return {};
    return Tensor::from<float>({static_cast<int64_t>(bias.size())}, std::span<const float>(bias));
  }

  template <typename A>
  void replace(ir::Node* node, std::string_view op_name, A attrs, ir::Value* x, Tensor weights, Tensor bias,
               Tensor scale) {
    const DType executed = weights.dtype();
    std::vector<ir::Value*> inputs = {x, graph_.add_constant(node->name + ":weights", std::move(weights))};
    inputs.push_back(bias.valid() ? graph_.add_constant(node->name + ":bias", std::move(bias)) : nullptr);
    inputs.push_back(scale.valid() ? graph_.add_constant(node->name + ":scale", std::move(scale)) : nullptr);
    ir::Node* packed = graph_.add_node(&op(op_name, kLowpDomain), Attrs::make(std::move(attrs)), std::move(inputs), 1,
                                       node->name, node);
    packed->outputs[0]->type = node->outputs[0]->type;
    set_precision(packed, node, executed);
    ir::Graph::take_name(packed, node);
    ir::Graph::take_name(packed->outputs[0], node->outputs[0]);
    graph_.replace_uses(node->outputs[0], packed->outputs[0]);
  }

  ir::Graph& graph_;
  const PassOptions& options_;
};

}  // namespace

Result<int> pack_weights(ir::Graph& graph, const PassOptions& options) {
  Packer packer(graph, options);
  int changed = 0;
  for (ir::Node* node : graph.node_list()) {
    if (is_op(node, "MatMul") || is_op(node, "Gemm")) changed += packer.matmul(node);
    if (is_op(node, "Conv")) changed += packer.conv(node);
    if (is_op(node, "Gather")) changed += packer.gather(node);
    if (node->op->quantize == QuantRule::kRecurrent) changed += packer.recurrence(node);
  }
  return changed;
}

}  // namespace lowp::passes
